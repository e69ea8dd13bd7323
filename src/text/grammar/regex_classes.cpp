#include <algorithm>
#include <array>
#include <map>
#include <string>

#include <utf8proc.h>

#include "text/grammar/regex_syntax.hpp"

/// Sets of code points.
namespace bloom::text::schema {

CodePoints normalised(CodePoints ranges) {
    std::ranges::sort(ranges, {}, &CodePointRange::first);
    CodePoints out;
    for (const CodePointRange& r : ranges) {
        if (r.first > r.last) continue;
        if (!out.empty() && r.first <= out.back().last + 1) {
            out.back().last = std::max(out.back().last, r.last);
        } else {
            out.push_back(r);
        }
    }
    return out;
}

CodePoints complement(const CodePoints& ranges) {
    CodePoints out;
    char32_t next = 0;
    for (const CodePointRange& r : ranges) {
        if (r.first > next) out.push_back({next, r.first - 1});
        next = r.last + 1;
    }
    if (next <= kLastCodePoint) out.push_back({next, kLastCodePoint});
    return out;
}

CodePoints class_of(char letter) {
    switch (letter) {
    case 'd':
        return {{'0', '9'}};
    case 'w':
        return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
    default: // white space and line terminators, ECMA-262 12.2 and 12.3
        return {{0x09, 0x0d},     {0x20, 0x20},     {0xa0, 0xa0},     {0x1680, 0x1680},
                {0x2000, 0x200a}, {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f},
                {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    }
}

namespace {

using Categories = std::map<std::string, CodePoints, std::less<>>;

Categories all_categories() {
    Categories out;
    std::string name;
    for (char32_t cp = 0; cp <= kLastCodePoint; ++cp) {
        name = utf8proc_category_string(static_cast<utf8proc_int32_t>(cp));
        for (const std::size_t n : {std::size_t{1}, std::size_t{2}}) {
            CodePoints& ranges = out[name.substr(0, n)];
            if (!ranges.empty() && ranges.back().last + 1 == cp) {
                ranges.back().last = cp;
            } else {
                ranges.push_back({cp, cp});
            }
        }
    }
    return out;
}

struct LongName {
    std::string_view name;
    std::string_view category;
};

/// Long names that patterns use, UAX #44 table 12.
constexpr std::array kLongNames{
    LongName{"Letter", "L"},
    LongName{"Lowercase_Letter", "Ll"},
    LongName{"Uppercase_Letter", "Lu"},
    LongName{"Titlecase_Letter", "Lt"},
    LongName{"Modifier_Letter", "Lm"},
    LongName{"Other_Letter", "Lo"},
    LongName{"Mark", "M"},
    LongName{"Nonspacing_Mark", "Mn"},
    LongName{"Number", "N"},
    LongName{"Decimal_Number", "Nd"},
    LongName{"digit", "Nd"},
    LongName{"Letter_Number", "Nl"},
    LongName{"Punctuation", "P"},
    LongName{"punct", "P"},
    LongName{"Symbol", "S"},
    LongName{"Separator", "Z"},
    LongName{"Space_Separator", "Zs"},
    LongName{"Control", "Cc"},
};

} // namespace

const CodePoints* category(std::string_view name) {
    static const Categories kCategories = all_categories();
    for (const std::string_view prefix : {"General_Category=", "gc="}) {
        if (name.starts_with(prefix)) {
            name.remove_prefix(prefix.size());
            break;
        }
    }
    const auto* alias = std::ranges::find(kLongNames, name, &LongName::name);
    if (alias != kLongNames.end()) name = alias->category;
    const auto it = kCategories.find(name);
    return it == kCategories.end() ? nullptr : &it->second;
}

} // namespace bloom::text::schema
