// Any schema ends in a grammar or an error; a grammar's answers stay inside JSON. Input: the
// schema, a zero byte, then bytes that walk through the grammar.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include <bloom/base/check.hpp>
#include <bloom/json/reader.hpp>
#include <bloom/text/grammar/json_schema.hpp>

#include "tests/support/grammar_match.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace bloom::text;
    if (size < 1) return 0;
    const JsonSchemaOptions options{.syntax =
                                        (data[0] & 1) != 0 ? ValueSyntax::gemma : ValueSyntax::json,
                                    .strict = (data[0] & 2) != 0};
    const std::string_view input(reinterpret_cast<const char*>(data + 1), size - 1);
    const std::size_t zero = input.find('\0');
    const std::string_view schema = input.substr(0, zero);
    GrammarBuilder builder;
    const auto node = add_json_schema(builder, schema, options);
    if (!node) {
        BLOOM_CHECK(!node.error().message().empty());
        return 0;
    }
    const auto grammar = builder.build(*node);
    if (!grammar || zero == std::string_view::npos) return 0;
    const bloom::test::GrammarCheck check(*grammar);
    GrammarMatcher matcher = check.matcher();
    std::string text;
    for (const char c : input.substr(zero + 1)) {
        // What does not fit is replaced by what does, so that walks go far.
        char next = c;
        if (!matcher.accept_bytes({&next, 1})) {
            const auto mask = matcher.mask();
            int b = static_cast<unsigned char>(c);
            int tries = 0;
            while (tries < 256 && (mask[static_cast<std::size_t>(b) / 64] >> (b % 64) & 1) == 0) {
                b = (b + 1) % 256;
                ++tries;
            }
            if (tries == 256) {
                BLOOM_CHECK(matcher.can_end());
                break;
            }
            next = static_cast<char>(b);
            BLOOM_CHECK(matcher.accept_bytes({&next, 1}));
        }
        text += next;
    }
    if (matcher.can_end() && options.syntax == ValueSyntax::json) {
        bloom::json::Parser parser;
        const auto value = parser.parse(text);
        // Integers of 18 digits and small exponents: readable, unless nested deeper than that.
        BLOOM_CHECK(value.has_value() || value.error().code() == bloom::Code::too_large);
    }
    return 0;
}
