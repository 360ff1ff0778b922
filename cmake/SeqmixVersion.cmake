# The version is written once, in include/seqmix/seqmix.h. Including this file sets
# SEQMIX_VERSION ("0.1.0"), SEQMIX_VERSION_MAJOR and SEQMIX_SOVERSION. Usable before project().
function(_seqmix_read_version)
    file(STRINGS ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../include/seqmix/seqmix.h lines
         REGEX "^#define SEQMIX_VERSION_(MAJOR|MINOR|PATCH) [0-9]+$")
    foreach(part MAJOR MINOR PATCH)
        if(NOT "${lines}" MATCHES "SEQMIX_VERSION_${part} ([0-9]+)")
            message(FATAL_ERROR "seqmix.h does not define SEQMIX_VERSION_${part}")
        endif()
        set(${part} ${CMAKE_MATCH_1})
    endforeach()
    set(SEQMIX_VERSION ${MAJOR}.${MINOR}.${PATCH} PARENT_SCOPE)
    set(SEQMIX_VERSION_MAJOR ${MAJOR} PARENT_SCOPE)
    set(SEQMIX_SOVERSION ${MAJOR} PARENT_SCOPE)
endfunction()
_seqmix_read_version()
