// JSON as files hold it: what is refused, what is read, and the messages.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <string>

#include "base/nlohmann.h"
#include "models/formats/json.h"

namespace {

using seqmix::Json;
using seqmix::JsonNumbers;
using seqmix::Status;

std::string message() { return seqmix::error_text::get(); }

Json parse(const std::string& text, JsonNumbers numbers = JsonNumbers::any) {
    Json value;
    const Status status = seqmix::parse_json(text, "config.json", numbers, value);
    EXPECT_TRUE(status.ok()) << text << ": " << message();
    return value;
}

// The message of a text that must be refused.
std::string refused(const std::string& text, JsonNumbers numbers = JsonNumbers::any) {
    Json value(std::string("untouched"));
    const Status status = seqmix::parse_json(text, "config.json", numbers, value);
    EXPECT_EQ(status.code(), SEQMIX_ERR_BAD_FORMAT) << text.substr(0, 200);
    EXPECT_EQ(value, Json(std::string("untouched")));
    return status.ok() ? "accepted" : message();
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

#define EXPECT_CONTAINS(text, part) \
    EXPECT_TRUE(contains(text, part)) << "'" << (text) << "' should contain '" << (part) << "'"

// The value as the JSON library holds it.
nlohmann::json mirror(const Json& value) {
    if (const auto* flag = value.get_if<bool>(); flag != nullptr) {
        return *flag;
    }
    if (const auto* integer = value.get_if<int64_t>(); integer != nullptr) {
        return *integer;
    }
    if (const auto* integer = value.get_if<uint64_t>(); integer != nullptr) {
        return *integer;
    }
    if (const auto* real = value.get_if<double>(); real != nullptr) {
        return *real;
    }
    if (const auto* text = value.get_if<std::string>(); text != nullptr) {
        return *text;
    }
    if (const auto* array = value.get_if<Json::Array>(); array != nullptr) {
        nlohmann::json result = nlohmann::json::array();
        for (const Json& item : *array) {
            result.push_back(mirror(item));
        }
        return result;
    }
    if (const auto* object = value.get_if<Json::Object>(); object != nullptr) {
        nlohmann::json result = nlohmann::json::object();
        for (const auto& [key, item] : *object) {
            result[key] = mirror(item);
        }
        return result;
    }
    EXPECT_TRUE(value.is_null());
    return nullptr;
}

TEST(Json, ReadsValues) {
    for (const char* text :
         {R"({"a":[1,-2,3.5,true,null,"x\u00e9",{}],"b":{"c":[]}} )"
          "\n",
          "3", "null", "-0", "\"\"", "[]",
          R"([[],[[1],{"k":{"l":[2,{"m":3}]}}],"s",1e3,-7,18446744073709551615])"}) {
        const nlohmann::json value = mirror(parse(text));
        const nlohmann::json expected = nlohmann::json::parse(text);
        EXPECT_EQ(value, expected);
        EXPECT_EQ(value.dump(), expected.dump());  // 3 is not 3.0
    }
}

TEST(Json, RefusesWhatIsNotJson) {
    for (const char* text :
         {"",           " ",         "{",         "}",           "{\"a\":}",    "{\"a\":1,}",
          "[1,2",       "[1 2]",     "{\"a\" 1}", "{a:1}",       "nul",         "01",
          "1.",         "+1",        ".5",        "1e999",       "'a'",         "\"a",
          "\"\\x\"",    "\"\n\"",    "{}{}",      "{} x",        "/* c */ {}",  "{} // c",
          "[1]]",       "\"\xff\"",  "\"\xc3\"",  "\"\\ud800\"", "infinity",    "nan",
          "--Infinity", "+Infinity", "Infinityx", "1Infinity",   "{Infinity:1}"}) {
        EXPECT_NE(refused(text), "") << text;
    }
    EXPECT_CONTAINS(refused("{\"a\":1,}"), "config.json: not valid JSON at byte 8");
    EXPECT_CONTAINS(refused("{\"a\":[NaN,]}"), "config.json: not valid JSON near");
}

TEST(Json, RefusesNul) {
    using namespace std::string_literals;
    EXPECT_CONTAINS(refused("{\"a\":1}\0{}"s), "NUL at byte 7");
    refused("{\"a\0\":1}"s);
    refused("\0"s);
}

TEST(Json, RefusesDuplicateKeys) {
    EXPECT_CONTAINS(refused(R"({"a":1,"b":2,"a":3})"), "config.json: key 'a' appears twice");
    EXPECT_CONTAINS(refused(R"({"a":{"b":1,"\u0062":1}})"), "key 'b' appears twice");
    parse(R"([{"a":1},{"a":1},{"b":{"a":1},"a":1}])");
}

TEST(Json, LimitsNesting) {
    const auto nested = [](size_t depth) {
        return std::string(depth, '[') + std::string(depth, ']');
    };
    parse(nested(100));
    EXPECT_CONTAINS(refused(nested(101)), "nested deeper than 100 levels");
    refused(std::string(5'000'000, '['));
    std::string objects;
    for (int i = 0; i < 200'000; ++i) {
        objects += "{\"a\":";
    }
    refused(objects);
    // Brackets in strings do not count.
    parse("\"" + std::string(1000, '[') + "\\\"" + std::string(1000, '{') + "\"");
}

TEST(Json, LimitsTheNumberOfValues) {
    std::string text = "[";
    for (int64_t i = 0; i <= seqmix::kMaxJsonValues; ++i) {
        text += "0,";
    }
    text.back() = ']';
    EXPECT_CONTAINS(refused(text), "more than 10000000 values");
}

TEST(Json, ReadsNumbersThatAreNotJson) {
    const Json value = parse(
        R"({"a":Infinity,"b":[-Infinity, NaN],"c":"Infinity NaN","d":{"__float__":"-Infinity"},)"
        R"("e":"\"Infinity"})");
    std::optional<double> number;
    ASSERT_TRUE(seqmix::get_float(value, "config.json", "a", number).ok());
    EXPECT_EQ(number, HUGE_VAL);
    ASSERT_TRUE(seqmix::get_float(value, "config.json", "d", number).ok());
    EXPECT_EQ(number, -HUGE_VAL);
    const nlohmann::json all = mirror(value);
    EXPECT_EQ(all["b"][1], nlohmann::json::parse(R"({"__float__":"NaN"})"));
    EXPECT_EQ(all["c"], "Infinity NaN");
    EXPECT_EQ(all["e"], "\"Infinity");
    for (const char* text : {"[Infinity]", "[NaN]", "[-Infinity]"}) {
        refused(text, JsonNumbers::finite);
    }
}

TEST(Json, ReadsMembersByType) {
    const Json object =
        parse(R"({"i":7,"f":2.5,"whole":4.0,"big":9223372036854775807,"min":-9223372036854775808,)"
              R"("s":"text","yes":true,"no":false,"null":null,"inf":{"__float__":"Infinity"}})");
    std::optional<int64_t> integer = 99;
    std::optional<double> real = 99;
    std::optional<bool> flag = true;
    std::optional<std::string> text = "99";
    for (const char* key : {"null", "absent"}) {
        EXPECT_TRUE(seqmix::get_int(object, "c", key, integer).ok());
        EXPECT_TRUE(seqmix::get_float(object, "c", key, real).ok());
        EXPECT_TRUE(seqmix::get_bool(object, "c", key, flag).ok());
        EXPECT_TRUE(seqmix::get_string(object, "c", key, text).ok());
        EXPECT_FALSE(integer || real || flag || text);
    }
    const auto get_int = [&](const char* key) {
        EXPECT_TRUE(seqmix::get_int(object, "c", key, integer).ok()) << message();
        return integer.value_or(-99);
    };
    EXPECT_EQ(get_int("i"), 7);
    EXPECT_EQ(get_int("whole"), 4);
    EXPECT_EQ(get_int("big"), INT64_MAX);
    EXPECT_EQ(get_int("min"), INT64_MIN);
    EXPECT_TRUE(seqmix::get_float(object, "c", "i", real).ok());
    EXPECT_EQ(real, 7.0);
    EXPECT_TRUE(seqmix::get_float(object, "c", "inf", real).ok());
    EXPECT_EQ(real, HUGE_VAL);
    EXPECT_TRUE(seqmix::get_bool(object, "c", "no", flag).ok());
    EXPECT_EQ(flag, false);
    EXPECT_TRUE(seqmix::get_string(object, "c", "s", text).ok());
    EXPECT_EQ(text, "text");
}

TEST(Json, NamesKeyExpectedAndGot) {
    const Json object =
        parse(R"({"f":2.5,"s":"text","b":true,"a":[1,2],"o":{"x":1},"i":3,"inf":Infinity,)"
              R"("over":9223372036854775808,"under":-9223372036854775809,"huge":1e300,)"
              R"("other":{"__float__":"Inf"}})");
    std::optional<int64_t> integer;
    std::optional<double> real;
    std::optional<bool> flag;
    std::optional<std::string> text;
    const auto check = [](Status status, const char* expected) {
        EXPECT_EQ(status.code(), SEQMIX_ERR_BAD_FORMAT);
        EXPECT_EQ(message(), expected);
    };
    check(seqmix::get_int(object, "c", "f", integer), "c: 'f' must be an integer, got 2.5");
    check(seqmix::get_int(object, "c", "s", integer), "c: 's' must be an integer, got 'text'");
    check(seqmix::get_int(object, "c", "b", integer), "c: 'b' must be an integer, got true");
    check(seqmix::get_int(object, "c", "inf", integer),
          "c: 'inf' must be an integer, got Infinity");
    check(seqmix::get_int(object, "c", "over", integer),
          "c: 'over' must be an integer of 64 bits, got 9223372036854775808");
    check(seqmix::get_int(object, "c", "under", integer),
          "c: 'under' must be an integer, got -9.22337204e+18");
    check(seqmix::get_int(object, "c", "huge", integer),
          "c: 'huge' must be an integer, got 1e+300");
    check(seqmix::get_float(object, "c", "a", real), "c: 'a' must be a number, got an array of 2");
    check(seqmix::get_float(object, "c", "o", real), "c: 'o' must be a number, got an object");
    check(seqmix::get_float(object, "c", "other", real),
          "c: 'other' must be a number, got an object");
    check(seqmix::get_bool(object, "c", "i", flag), "c: 'i' must be true or false, got 3");
    check(seqmix::get_string(object, "c", "i", text), "c: 'i' must be a string, got 3");
}

TEST(Json, QuotesCutAtACharacter) {
    EXPECT_EQ(seqmix::in_quotes("abc", 3), "'abc'");
    EXPECT_EQ(seqmix::in_quotes("abcd", 3), "'abc...'");
    EXPECT_EQ(seqmix::in_quotes("ab\xc3\xa9z", 3), "'ab...'");
}

}  // namespace
