#include <gtest/gtest.h>

#include <bloom/text/jinja.hpp>

#include "golden/text/golden_file.hpp"
#include "text/jinja/objects.hpp"

namespace bloom::text {
namespace {

constexpr std::int64_t kMoment = 1707138429; // 2024-02-05 13:07:09, as the reference was given

// Every small template prints, raises or fails exactly as Jinja2 does.
TEST(JinjaExpressions, MatchTheReference) {
    const jinja::Value file = golden("jinja_expressions.json");
    ASSERT_NE(file.find("cases"), nullptr);
    const jinja::Value& context = *file.find("context");
    jinja::RenderLimits limits;
    limits.local_time_s = kMoment;
    const auto& cases = jinja::items_of(*file.find("cases"));
    EXPECT_GT(cases.size(), 800U);
    for (const jinja::Value& item : cases) {
        const std::string source = text_of(item, "template");
        SCOPED_TRACE(source);
        std::string got;
        bool raised = false;
        bool failed = false;
        auto parsed = jinja::Template::parse(source, "case");
        if (parsed) {
            auto rendered = parsed->render(context, limits);
            failed = !rendered;
            raised = failed && rendered.error().code() == Code::invalid_argument;
            got = rendered ? rendered->text : std::string(rendered.error().message());
        } else {
            failed = true;
            got = parsed.error().message();
        }
        if (item.find("out") != nullptr) {
            EXPECT_FALSE(failed) << got;
            EXPECT_EQ(got, text_of(item, "out"));
        } else if (item.find("raised") != nullptr) {
            EXPECT_TRUE(raised);
            EXPECT_EQ(got, text_of(item, "raised"));
        } else {
            EXPECT_TRUE(failed && !raised) << "printed " << got;
        }
    }
}

} // namespace
} // namespace bloom::text
