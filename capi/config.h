#pragma once

#include "contract/attributes.h"

struct seqmix_config {
    seqmix::Attributes attributes;
};
