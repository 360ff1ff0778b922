// Messages: one line of UTF-8 that a terminal shows as it is, whatever names a file supplies.
#include "base/status.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

namespace {

template <class... Parts>
std::string message(const Parts&... parts) {
    static_cast<void>(seqmix::fail(SEQMIX_ERR_INTERNAL, parts...));
    return seqmix::error_text::get();
}

TEST(Status, MessagesAreOneLineOfUtf8) {
    EXPECT_EQ(message("a\nb\x1b[31mc\x7f"), "a b [31mc ");
    EXPECT_EQ(message("caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
              "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80");
    EXPECT_EQ(message("[\xff\xfe\x80]"), "[???]");
    EXPECT_EQ(message("[\xc3", "]"), "[?]");                  // cut short
    EXPECT_EQ(message("[\xc0\xaf\xed\xa0\x80]"), "[?????]");  // overlong, a surrogate
    EXPECT_EQ(message("[\xf4\x90\x80\x80]"), "[????]");       // beyond Unicode
    EXPECT_EQ(message("[\xc2\x85\xe2\x80\xa8\xe2\x80\xae]"), "[        ]");  // NEL, LS, RLO
}

TEST(Status, LongMessagesEndWithACharacter) {
    const std::string text = message(std::string(1022, 'x'), "\xe2\x82\xac");
    EXPECT_EQ(text, std::string(1022, 'x'));
    EXPECT_EQ(message(std::string(2000, 'x')).size(), 1023u);
}

TEST(Status, NumbersReadAsNumbers) {
    EXPECT_EQ(message(0.0), "0");
    EXPECT_EQ(message(-1.5), "-1.5");
    EXPECT_EQ(message(0.9999999), "1");
    EXPECT_EQ(message(0.0001), "0.0001");
    EXPECT_EQ(message(999999.5), "999999.5");
    EXPECT_EQ(message(1e-5), "1e-5");
    EXPECT_EQ(message(2.5e6), "2.5e6");
    EXPECT_EQ(message(1e308), "1e308");
    EXPECT_EQ(message(std::numeric_limits<double>::infinity()), "inf");
    EXPECT_EQ(message(std::nan("")), "nan");
    EXPECT_EQ(message(INT64_MIN), "-9223372036854775808");
}

}  // namespace
