#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/jinja_value.hpp>

/// The template language of chat models: Jinja2 as the Hugging Face reference environment runs it
/// (trim_blocks, lstrip_blocks, loop controls, generation tag, Python's json.dumps as tojson).
/// Templates are data from model files, so nothing in them reaches files, network or environment
/// and everything is bounded.
namespace bloom::text::jinja {

inline constexpr std::size_t kMaxSourceBytes = std::size_t{1} << 20;
inline constexpr std::uint32_t kMaxNesting = 200; ///< of expressions and statements, in the source
inline constexpr std::uint32_t kMaxCallDepth = 100; ///< macros inside macros
inline constexpr std::uint32_t kMaxEvaluationDepth =
    1200; ///< nodes below one another, calls included
inline constexpr std::uint64_t kMaxSteps = 5'000'000;
inline constexpr std::size_t kMaxOutputBytes = std::size_t{64} << 20;
inline constexpr std::int64_t kMaxRange = 100'000; ///< elements of range()

/// What one render may use up.
struct RenderLimits {
    /// A step is one node evaluated, one item touched or 64 bytes of text built.
    std::uint64_t max_steps = kMaxSteps;
    std::size_t max_output_bytes = kMaxOutputBytes;
    /// Asked every few thousand steps; false ends the render with Code::timeout. May be empty.
    std::function<bool()> keep_going;
    /// What strftime_now() shows: seconds since 1970 on the local clock, offset included.
    std::int64_t local_time_s = 0;
};

/// Text and which bytes of it came from user values, ascending and apart.
struct Rendered {
    std::string text;
    std::vector<ByteRange> user_ranges;
};

struct Program; // the parsed form, private to the interpreter

/// A parsed template: immutable, rendered any number of times. Thread: any, at the same time.
class Template {
public:
    /// Errors: corrupt with `name` and line for a syntax error; too_large; limit_reached for
    /// nesting.
    static Result<Template> parse(std::string_view source, std::string_view name);

    /// Renders with the members of the dict `globals` as variables.
    /// Errors: invalid_argument carries exactly the text given to raise_exception(); unsupported is
    /// any other failure of the template, with its line; limit_reached and too_large name the
    /// bound; timeout comes from `keep_going`.
    /// Stack: less than 1 MiB at the deepest template allowed (4 MiB in sanitizer builds).
    Result<Rendered> render(const Value& globals, const RenderLimits& limits) const;

    /// Whether the template mentions this name as a variable or attribute (not in literal text).
    bool mentions(std::string_view name) const noexcept;

private:
    explicit Template(std::shared_ptr<const Program> program) : program_(std::move(program)) {}

    std::shared_ptr<const Program> program_;
};

} // namespace bloom::text::jinja
