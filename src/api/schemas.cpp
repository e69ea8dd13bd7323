#include "api/schemas.hpp"

#include <bloom/rt/shard.hpp>
#include <bloom/text/grammar/constraint.hpp>

namespace bloom::api {
namespace {

using Checked = std::optional<text::ConstraintError>;

/// Schemas of so many bytes are looked at in place: a fraction of a millisecond.
constexpr std::size_t kInPlaceBytes = 2048;

/// Of the schemas that may be enforced; an agent's many tools are mostly not.
std::size_t schema_bytes(const gen::Generation& request) {
    const gen::ToolChoice choice = request.tmpl.tool_choice;
    const bool forced = choice == gen::ToolChoice::required || choice == gen::ToolChoice::named;
    std::size_t n = request.format.schema.size();
    for (const gen::ToolDefinition& tool : request.tmpl.tools)
        n += forced || tool.strict ? tool.parameters.size() : 0;
    return n;
}

ApiError refusal(const text::ConstraintError& wrong, const gen::Generation& request) {
    const dialect::Dialect& dialect = dialect::dialect_of(request.render.dialect);
    const bool is_format = wrong.param == "response_format";
    ApiError out{
        http::Status::bad_request, "invalid_request_error", "unsupported_schema", {}, {}, 0};
    out.param = is_format ? std::string(dialect.format_param) : wrong.param;
    out.message = "Invalid schema for '" + out.param + "': " + std::string(wrong.error.message());
    return out;
}

} // namespace

rt::Task<std::optional<ApiError>> check_schemas(const gen::Generation& request) {
    const std::size_t n_bytes = schema_bytes(request);
    if (n_bytes == 0) co_return std::nullopt;
    Checked wrong;
    if (n_bytes <= kInPlaceBytes) {
        wrong = text::check_constraints(request.tmpl, request.format);
    } else {
        const gen::Generation* const what = &request;
        Result<Checked> checked = co_await rt::run_blocking(
            [what] { return text::check_constraints(what->tmpl, what->format); });
        if (!checked) co_return to_api_error(checked.error());
        wrong = std::move(*checked);
    }
    if (!wrong) co_return std::nullopt;
    co_return refusal(*wrong, request);
}

} // namespace bloom::api
