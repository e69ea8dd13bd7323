#include <bloom/text/jinja.hpp>

#include <gtest/gtest.h>
namespace bloom::text::jinja {
TEST(Smoke, A) {
    auto t = Template::parse("{% for x in xs %}{{ x|upper }}{% if not loop.last %}, {% endif %}{% endfor %}", "t");
    ASSERT_TRUE(t.has_value());
    auto g = Value::from_json(R"({"xs":["a","b"]})", Origin::user);
    auto r = t->render(*g, {});
    ASSERT_TRUE(r.has_value()) << r.error().message();
    EXPECT_EQ(r->text, "A, B");
    EXPECT_EQ(r->user_ranges.size(), 2U);
}
}
