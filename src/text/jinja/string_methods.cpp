#include <algorithm>

#include "text/jinja/interpreter.hpp"
#include "text/jinja/operations.hpp"
#include "text/jinja/python_text.hpp"
#include "text/jinja/string_ops.hpp"
#include "text/jinja/unicode.hpp"

namespace bloom::text::jinja {
namespace {

Error wants_text(std::string_view method, const Value& got) {
    return failure(fmt::format("{}() takes a string, not '{}'", method, type_name(got)));
}

bool in_set(std::string_view chars, std::string_view character) noexcept {
    for (std::size_t at = 0; at < chars.size();) {
        const std::size_t n = decode(chars, at).n_bytes;
        if (chars.substr(at, n) == character) return true;
        at += n;
    }
    return false;
}

bool stripped(std::string_view text, std::size_t at, std::size_t n, const Value* chars) noexcept {
    return chars != nullptr ? in_set(chars->text(), text.substr(at, n))
                            : is_space(decode(text, at).value);
}

template <Casing casing>
Result<Value> change(Interpreter& in, const Value& self, CallArguments& args) {
    BLOOM_OK(match_arguments(args, "case change", std::array<std::string_view, 0>{}));
    BLOOM_OK(in.budget().spend_bytes(self.text().size()));
    return change_case(self, casing);
}

template <Side side>
Result<Value> strip_method(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"chars"};
    BLOOM_TRY(const auto bound, match_arguments(args, "strip", kNames));
    const Value* chars = bound[0];
    if (chars != nullptr && chars->is(Kind::none)) chars = nullptr;
    if (chars != nullptr && !chars->is(Kind::string)) return wants_text("strip", *chars);
    BLOOM_OK(in.budget().spend_bytes(self.text().size()));
    return strip(self, side, chars);
}

/// Positions of white-space separated words.
std::vector<Value> split_words(const Value& self, std::int64_t limit, bool from_right) {
    std::vector<Value> out;
    const std::string_view text = self.text();
    if (!from_right) {
        std::size_t at = 0;
        for (;;) {
            at = text.size() - strip_left(text.substr(at)).size();
            if (at >= text.size()) break;
            if (limit >= 0 && static_cast<std::int64_t>(out.size()) == limit) {
                out.push_back(substring(self, at, strip_right(text).size()));
                break;
            }
            std::size_t end = at;
            while (end < text.size() && !is_space(decode(text, end).value)) {
                end += decode(text, end).n_bytes;
            }
            out.push_back(substring(self, at, end));
            at = end;
        }
        return out;
    }
    std::size_t end = text.size();
    for (;;) {
        end = strip_right(text.substr(0, end)).size();
        if (end == 0) break;
        if (limit >= 0 && static_cast<std::int64_t>(out.size()) == limit) {
            out.push_back(substring(self, text.size() - strip_left(text).size(), end));
            break;
        }
        std::size_t begin = end;
        while (begin > 0 && !is_space(decode(text, previous(text, begin)).value)) {
            begin = previous(text, begin);
        }
        out.push_back(substring(self, begin, end));
        end = begin;
    }
    std::reverse(out.begin(), out.end());
    return out;
}

template <bool from_right>
Result<Value> split(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 2> kNames{"sep", "maxsplit"};
    BLOOM_TRY(const auto bound, match_arguments(args, "split", kNames));
    std::int64_t limit = -1;
    if (bound[1] != nullptr) {
        const auto given = small_integer(*bound[1]);
        if (!given) return failure("split() takes an integer as maxsplit");
        limit = *given;
    }
    const std::string_view text = self.text();
    BLOOM_OK(in.budget().spend_bytes(text.size()));
    std::vector<Value> out;
    if (bound[0] == nullptr || bound[0]->is(Kind::none)) {
        out = split_words(self, limit, from_right);
    } else {
        if (!bound[0]->is(Kind::string)) return wants_text("split", *bound[0]);
        const std::string_view separator = bound[0]->text();
        if (separator.empty()) return failure("empty separator");
        std::size_t left = 0;
        std::size_t right = text.size();
        while (limit < 0 || static_cast<std::int64_t>(out.size()) < limit) {
            const std::string_view rest = text.substr(left, right - left);
            const std::size_t at = from_right ? rest.rfind(separator) : rest.find(separator);
            if (at == std::string_view::npos) break;
            BLOOM_OK(in.budget().spend(1));
            if (from_right) {
                out.push_back(substring(self, at + separator.size(), right));
                right = at;
            } else {
                out.push_back(substring(self, left, left + at));
                left += at + separator.size();
            }
        }
        out.push_back(substring(self, left, right));
        if (from_right) std::reverse(out.begin(), out.end());
    }
    BLOOM_OK(in.budget().spend(out.size()));
    return make_sequence(std::move(out), Form::list, true);
}

Result<Value> lines_method(Interpreter& in, const Value& self, CallArguments& args) {
    BLOOM_OK(match_arguments(args, "splitlines", std::array<std::string_view, 0>{}));
    BLOOM_OK(in.budget().spend(self.text().size()));
    return make_sequence(split_lines(self), Form::list, true);
}

/// The part of a string that start and end arguments select.
Result<std::pair<std::size_t, std::size_t>> window(Interpreter& in, std::string_view text,
                                                   const Value* start, const Value* end) {
    BLOOM_OK(in.budget().spend_bytes(text.size()));
    if (start == nullptr && end == nullptr)
        return std::pair<std::size_t, std::size_t>{0, text.size()};
    const auto n = static_cast<std::int64_t>(count_code_points(text));
    std::int64_t bounds[2] = {0, n};
    const Value* given[2] = {start, end};
    for (std::size_t i = 0; i < 2; ++i) {
        if (given[i] == nullptr || given[i]->is(Kind::none)) continue;
        const auto at = small_integer(*given[i]);
        if (!at) return failure("slice indices must be integers or None");
        bounds[i] = std::clamp<std::int64_t>(*at < 0 ? *at + n : *at, 0, n);
    }
    if (bounds[1] < bounds[0]) bounds[1] = bounds[0];
    return std::pair{byte_offset(text, static_cast<std::size_t>(bounds[0])),
                     byte_offset(text, static_cast<std::size_t>(bounds[1]))};
}

template <bool at_end>
Result<Value> affix(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 3> kNames{"prefix", "start", "end"};
    BLOOM_TRY(const auto bound,
              match_arguments(args, at_end ? "endswith" : "startswith", kNames, 1));
    BLOOM_TRY(const auto part, window(in, self.text(), bound[1], bound[2]));
    const std::string_view text = self.text().substr(part.first, part.second - part.first);
    std::vector<Value> wanted{*bound[0]};
    if (bound[0]->is(Kind::sequence) && bound[0]->as<SequenceObject>().form == Form::tuple) {
        wanted = items_of(*bound[0]);
    }
    for (const Value& affix : wanted) {
        if (affix.is(Kind::undefined)) return undefined_failure(affix);
        if (!affix.is(Kind::string)) return wants_text(at_end ? "endswith" : "startswith", affix);
        if (at_end ? text.ends_with(affix.text()) : text.starts_with(affix.text())) {
            return Value::boolean(true);
        }
    }
    return Value::boolean(false);
}

enum class Search : std::uint8_t { find, rfind, index };

template <Search how>
Result<Value> search(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 3> kNames{"sub", "start", "end"};
    BLOOM_TRY(const auto bound, match_arguments(args, "find", kNames, 1));
    if (!bound[0]->is(Kind::string)) return wants_text("find", *bound[0]);
    BLOOM_TRY(const auto part, window(in, self.text(), bound[1], bound[2]));
    const std::string_view text = self.text().substr(part.first, part.second - part.first);
    const std::size_t at =
        how == Search::rfind ? text.rfind(bound[0]->text()) : text.find(bound[0]->text());
    if (at == std::string_view::npos) {
        if (how == Search::index) return failure("substring not found");
        return Value::integer(-1);
    }
    return Value::integer(
        static_cast<std::int64_t>(count_code_points(self.text().substr(0, part.first + at))));
}

Result<Value> count(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"sub"};
    BLOOM_TRY(const auto bound, match_arguments(args, "count", kNames, 1));
    if (!bound[0]->is(Kind::string)) return wants_text("count", *bound[0]);
    const std::string_view text = self.text();
    const std::string_view wanted = bound[0]->text();
    BLOOM_OK(in.budget().spend_bytes(text.size()));
    if (wanted.empty()) {
        return Value::integer(static_cast<std::int64_t>(count_code_points(text)) + 1);
    }
    std::int64_t n = 0;
    for (std::size_t at = text.find(wanted); at != std::string_view::npos;
         at = text.find(wanted, at + wanted.size())) {
        ++n;
    }
    return Value::integer(n);
}

Result<Value> replace_method(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 3> kNames{"old", "new", "count"};
    BLOOM_TRY(const auto bound, match_arguments(args, "replace", kNames, 2));
    for (const Value* text : {bound[0], bound[1]}) {
        if (!text->is(Kind::string)) return wants_text("replace", *text);
    }
    const auto limit =
        bound[2] == nullptr ? std::optional<std::int64_t>(-1) : small_integer(*bound[2]);
    if (!limit) return failure("replace() takes an integer as count");
    return replace(in, self, *bound[0], *bound[1], *limit);
}

Result<Value> join_method(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"iterable"};
    BLOOM_TRY(const auto bound, match_arguments(args, "join", kNames, 1));
    BLOOM_TRY(const std::vector<Value> items, iterate(in, *bound[0]));
    for (const Value& item : items) {
        if (!item.is(Kind::string)) return wants_text("join", item);
    }
    return join(in, items, self);
}

template <bool at_end>
Result<Value> remove_affix(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"affix"};
    BLOOM_TRY(const auto bound, match_arguments(args, "removeprefix", kNames, 1));
    if (!bound[0]->is(Kind::string)) return wants_text("removeprefix", *bound[0]);
    const std::string_view text = self.text();
    const std::string_view affix = bound[0]->text();
    BLOOM_OK(in.budget().spend_bytes(text.size()));
    if (!(at_end ? text.ends_with(affix) : text.starts_with(affix))) return self;
    return at_end ? substring(self, 0, text.size() - affix.size())
                  : substring(self, affix.size(), text.size());
}

template <bool from_right>
Result<Value> partition(Interpreter& in, const Value& self, CallArguments& args) {
    static constexpr std::array<std::string_view, 1> kNames{"sep"};
    BLOOM_TRY(const auto bound, match_arguments(args, "partition", kNames, 1));
    if (!bound[0]->is(Kind::string)) return wants_text("partition", *bound[0]);
    const std::string_view text = self.text();
    const std::string_view separator = bound[0]->text();
    if (separator.empty()) return failure("empty separator");
    BLOOM_OK(in.budget().spend_bytes(text.size()));
    const std::size_t at = from_right ? text.rfind(separator) : text.find(separator);
    std::vector<Value> out;
    if (at == std::string_view::npos) {
        out = {self, Value::string(""), Value::string("")};
        if (from_right) std::swap(out[0], out[2]);
    } else {
        out = {substring(self, 0, at), *bound[0],
               substring(self, at + separator.size(), text.size())};
    }
    return make_sequence(std::move(out), Form::tuple);
}

enum class Check : std::uint8_t { alpha, digit, alnum, space };

template <Check check>
Result<Value> all_of(Interpreter& in, const Value& self, CallArguments&) {
    const std::string_view text = self.text();
    BLOOM_OK(in.budget().spend_bytes(text.size()));
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint c = decode(text, at);
        const bool holds = check == Check::space   ? is_space(c.value)
                           : check == Check::alpha ? is_alpha(c.value)
                           : check == Check::digit ? is_digit(c.value)
                                                   : is_alpha(c.value) || is_digit(c.value);
        if (!holds) return Value::boolean(false);
        at += c.n_bytes;
    }
    return Value::boolean(!text.empty());
}

template <bool upper>
Result<Value> is_case(Interpreter& in, const Value& self, CallArguments& args) {
    BLOOM_TRY(const bool holds,
              in.apply_test(Value::string(upper ? "upper" : "lower"), self, args));
    return Value::boolean(holds);
}

/// Both kinds of padding; zfill() keeps a sign in front.
Result<Value> pad(Interpreter& in, const Value& self, CallArguments& args, double share_left,
                  bool zeros) {
    static constexpr std::array<std::string_view, 2> kNames{"width", "fill"};
    BLOOM_TRY(const auto bound, match_arguments(args, "padding", kNames, 1));
    const auto width = small_integer(*bound[0]);
    if (!width) return failure("the width must be an integer");
    std::string_view fill = zeros ? "0" : " ";
    if (bound[1] != nullptr) {
        fill = bound[1]->text();
        if (count_code_points(fill) != 1) return failure("the fill must be one character");
    }
    const auto have = static_cast<std::int64_t>(count_code_points(self.text()));
    if (*width <= have) return self;
    const auto n = static_cast<std::uint64_t>(*width - have);
    BLOOM_OK(in.budget().spend_bytes(n * fill.size() + self.text().size()));
    // str.center() gives the odd one to the left when the width is odd as well.
    auto left = static_cast<std::uint64_t>(static_cast<double>(n) * share_left);
    if (share_left == 0.5) left = n / 2 + (n & static_cast<std::uint64_t>(*width) & 1U);
    const bool sign = zeros && (self.text().starts_with('-') || self.text().starts_with('+'));
    StringBuilder out;
    if (sign) out.append(string_of(self), 0, 1);
    for (std::uint64_t i = 0; i < left; ++i)
        out.append(fill);
    out.append(string_of(self), sign ? 1 : 0, self.text().size());
    for (std::uint64_t i = left; i < n; ++i)
        out.append(fill);
    return std::move(out).finish();
}

Result<Value> ljust(Interpreter& in, const Value& self, CallArguments& args) {
    return pad(in, self, args, 0.0, false);
}

Result<Value> rjust(Interpreter& in, const Value& self, CallArguments& args) {
    return pad(in, self, args, 1.0, false);
}

Result<Value> center(Interpreter& in, const Value& self, CallArguments& args) {
    return pad(in, self, args, 0.5, false);
}

Result<Value> zfill(Interpreter& in, const Value& self, CallArguments& args) {
    return pad(in, self, args, 1.0, true);
}

Result<Value> format_method(Interpreter& in, const Value& self, CallArguments& args) {
    return format_braces(in, self, args);
}

constexpr NamedFn<MethodFn> kStringMethods[] = {
    {"startswith", affix<false>},
    {"endswith", affix<true>},
    {"split", split<false>},
    {"rsplit", split<true>},
    {"splitlines", lines_method},
    {"strip", strip_method<Side::both>},
    {"lstrip", strip_method<Side::left>},
    {"rstrip", strip_method<Side::right>},
    {"upper", change<Casing::upper>},
    {"lower", change<Casing::lower>},
    {"casefold", change<Casing::lower>},
    {"title", change<Casing::title>},
    {"capitalize", change<Casing::capitalize>},
    {"swapcase", change<Casing::swap>},
    {"replace", replace_method},
    {"join", join_method},
    {"find", search<Search::find>},
    {"rfind", search<Search::rfind>},
    {"index", search<Search::index>},
    {"count", count},
    {"format", format_method},
    {"removeprefix", remove_affix<false>},
    {"removesuffix", remove_affix<true>},
    {"partition", partition<false>},
    {"rpartition", partition<true>},
    {"isalpha", all_of<Check::alpha>},
    {"isdigit", all_of<Check::digit>},
    {"isdecimal", all_of<Check::digit>},
    {"isnumeric", all_of<Check::digit>},
    {"isalnum", all_of<Check::alnum>},
    {"isspace", all_of<Check::space>},
    {"isupper", is_case<true>},
    {"islower", is_case<false>},
    {"ljust", ljust},
    {"rjust", rjust},
    {"center", center},
    {"zfill", zfill},
};

} // namespace

MethodFn find_string_method(std::string_view name) noexcept {
    return find_in(kStringMethods, name);
}

Value strip(const Value& value, Side side, const Value* chars) {
    const std::string_view text = value.text();
    std::size_t begin = 0;
    std::size_t end = text.size();
    while (side != Side::right && begin < end) {
        const std::size_t n = decode(text, begin).n_bytes;
        if (!stripped(text, begin, n, chars)) break;
        begin += n;
    }
    while (side != Side::left && end > begin) {
        const std::size_t last = previous(text, end);
        if (!stripped(text, last, end - last, chars)) break;
        end = last;
    }
    return substring(value, begin, end);
}

Result<Value> replace(Interpreter& in, const Value& value, const Value& old, const Value& fresh,
                      std::int64_t limit) {
    const StringObject& from = string_of(value);
    const StringObject& by = string_of(fresh);
    const std::string_view text = from.text;
    const std::string_view wanted = old.text();
    StringBuilder out;
    std::size_t at = 0;
    BLOOM_OK(in.budget().spend_bytes(text.size()));
    for (std::int64_t n = 0; limit < 0 || n < limit; ++n) {
        const std::size_t found = text.find(wanted, at);
        if (found == std::string_view::npos) break;
        BLOOM_OK(in.budget().grow(out.size(), found - at + by.text.size() + from.user.size()));
        out.append(from, at, found);
        out.append(by);
        at = found + wanted.size();
        if (!wanted.empty()) continue;
        // An empty pattern matches before every character and at the end.
        if (found == text.size()) return std::move(out).finish();
        at = found + decode(text, found).n_bytes;
        out.append(from, found, at);
        if (limit < 0 || n + 1 < limit) {
            if (at == text.size()) {
                out.append(by);
                return std::move(out).finish();
            }
        }
    }
    out.append(from, at, text.size());
    return std::move(out).finish();
}

std::vector<Value> split_lines(const Value& value) {
    std::vector<Value> out;
    const std::string_view text = value.text();
    std::size_t begin = 0;
    for (std::size_t at = 0; at < text.size();) {
        const CodePoint c = decode(text, at);
        const bool ends = is_line_end(c.value) && (c.n_bytes > 1 || c.value < 0x80);
        if (ends) out.push_back(substring(value, begin, at));
        at += c.n_bytes;
        if (ends) {
            if (c.value == '\r' && at < text.size() && text[at] == '\n') ++at;
            begin = at;
        }
    }
    if (begin < text.size()) out.push_back(substring(value, begin, text.size()));
    return out;
}

Result<Value> join(Interpreter& in, const std::vector<Value>& items, const Value& separator) {
    StringBuilder out;
    for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) BLOOM_OK(append_str(out, separator, in.budget()));
        BLOOM_OK(append_str(out, items[i], in.budget()));
    }
    return std::move(out).finish();
}

} // namespace bloom::text::jinja
