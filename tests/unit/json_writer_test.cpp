// The writer's bytes: compared with the JSON library's, whose format it keeps.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "base/json_writer.h"
#include "base/nlohmann.h"

namespace {

using seqmix::JsonWriter;
using Dom = nlohmann::ordered_json;

template <class T>
std::string written(const T& value) {
    return JsonWriter().value(value).text();
}

std::string dumped(const Dom& value) {
    return value.dump(-1, ' ', true, Dom::error_handler_t::replace);
}

TEST(JsonWriter, WritesObjectsAndArrays) {
    JsonWriter out;
    out.begin_object();
    out.key("empty").begin_object().end_object();
    out.key("none").begin_array().end_array();
    out.member("list", std::vector<int64_t>{1, -2, INT64_MIN});
    out.member("texts", std::vector<std::string>{"a", "["});
    out.key("nested").begin_array().begin_object().member("{", ":").end_object().value(true);
    out.begin_array().value(false).end_array().end_array();
    out.member("size", std::numeric_limits<uint64_t>::max());
    out.member("view", std::string_view("v"));
    out.end_object();
    EXPECT_EQ(out.text(),
              R"({"empty":{},"none":[],"list":[1,-2,-9223372036854775808],"texts":["a","["],)"
              R"("nested":[{"{":":"},true,[false]],"size":18446744073709551615,"view":"v"})");
}

TEST(JsonWriter, WritesTexts) {
    std::string all;
    for (int c = 0; c < 128; ++c) {
        all += static_cast<char>(c);
    }
    EXPECT_EQ(written(all), dumped(all));
    for (const char* text :
         {"", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf", "\xef\xbf\xbf"}) {
        EXPECT_EQ(written(text), dumped(text)) << text;
    }
    // No UTF-8: alone, cut short, overlong, surrogates, beyond the last character. The library puts
    // one U+FFFD for several bytes of a broken character, the writer one for each.
    const struct {
        const char* text;
        size_t bytes;
    } broken[] = {{"\x80", 1},
                  {"\xff", 1},
                  {"a\xc3", 1},
                  {"a\xc3z", 1},
                  {"\xe2\x82", 2},
                  {"\xe2\x82z", 2},
                  {"\xf0\x9f\x98", 3},
                  {"\xc0\xaf", 2},
                  {"\xe0\x9f\xbf", 3},
                  {"\xed\xa0\x80", 3},
                  {"\xf5\x80", 2},
                  {"\xf0\x8f\xbf\xbf", 4},
                  {"\xf4\x90\x80\x80", 4},
                  {"\xf0\x9f\x98\xc3\xa9", 3}};
    const auto replaced = [](const std::string& json) {
        size_t count = 0;
        for (size_t at = 0; (at = json.find("\\ufffd", at)) != std::string::npos; ++at) {
            ++count;
        }
        return count;
    };
    for (const auto& [text, bytes] : broken) {
        EXPECT_EQ(replaced(written(text)), bytes) << text;
        EXPECT_GE(replaced(dumped(text)), 1u) << text;
    }
    std::mt19937 random(1);
    for (int round = 0; round < 20'000; ++round) {
        std::string text;
        for (int i = 0; i < 8; ++i) {
            text += static_cast<char>(random() % 2 == 0 ? random() : 0x80 + random() % 0x80);
        }
        const std::string ours = written(text);
        const std::string theirs = dumped(text);
        ASSERT_EQ(replaced(ours) == 0, replaced(theirs) == 0);
        ASSERT_TRUE(Dom::accept(ours));
        if (replaced(theirs) == 0) {
            ASSERT_EQ(ours, theirs);
        }
    }
}

TEST(JsonWriter, WritesRealNumbers) {
    for (const double value : {0.0,
                               -0.0,
                               1.0,
                               -2.0,
                               0.1,
                               1e-3,
                               1e-4,
                               1e-5,
                               -1.5e-5,
                               1e14,
                               1e15,
                               1e16,
                               123456789012345.0,
                               1234567890123456.0,
                               0.00012345,
                               5e-324,
                               1.7976931348623157e308,
                               3.141592653589793,
                               std::numeric_limits<double>::infinity(),
                               -std::numeric_limits<double>::infinity(),
                               std::numeric_limits<double>::quiet_NaN()}) {
        EXPECT_EQ(written(value), dumped(value));
    }
    std::mt19937_64 random(1);
    int longer = 0;
    for (int round = 0; round < 20'000; ++round) {
        const uint64_t bits = random();
        double value = 0;
        std::memcpy(&value, &bits, sizeof value);
        value = round % 2 == 0 ? value : std::ldexp(static_cast<double>(bits >> 40), -12);
        const std::string text = written(value), other = dumped(value);
        if (std::isfinite(value)) {
            ASSERT_EQ(std::strtod(text.c_str(), nullptr), value) << text;
        }
        // The library's digits are not always the fewest.
        ASSERT_TRUE(text == other || text.size() <= other.size()) << text << " " << other;
        longer += text == other ? 0 : 1;
    }
    EXPECT_LT(longer, 200);
}

}  // namespace
