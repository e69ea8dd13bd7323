#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/cli/verbs.hpp>
#include <bloom/fit/listing.hpp>
#include <bloom/fit/machine.hpp>
#include <bloom/fit/model_table.hpp>

#include "cli/common.hpp"

namespace bloom::cli {
namespace {

constexpr std::int64_t kDefaultRows = 20;
constexpr std::size_t kNarrowestName = 16;
constexpr std::size_t kOtherColumns = 66; ///< what a line takes besides the name
constexpr std::size_t kDefaultWidth = 100;

/// How the table may look.
struct Terminal {
    std::size_t width = kDefaultWidth;
    bool colour = false;
};

Terminal terminal() {
    Terminal out;
    if (::isatty(STDOUT_FILENO) == 0) return out;
    winsize size{};
    if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) out.width = size.ws_col;
    out.colour = std::getenv("NO_COLOR") == nullptr;
    return out;
}

std::string_view colour_of(fit::FitLevel level) noexcept {
    switch (level) {
    case fit::FitLevel::perfect:
        return "\x1b[32m";
    case fit::FitLevel::good:
        return "\x1b[36m";
    case fit::FitLevel::marginal:
        return "\x1b[33m";
    case fit::FitLevel::too_tight:
        return "\x1b[31m";
    }
    return "";
}

std::string in_colour(const Terminal& t, fit::FitLevel level, std::string_view text) {
    if (!t.colour) return std::string(text);
    return fmt::format("{}{}\x1b[0m", colour_of(level), text);
}

/// The flags as a query of the fit API, which checks them: one set of names and of errors.
std::string query_of(const FitArguments& a) {
    std::string query;
    const auto add = [&query](std::string_view name, std::string_view value) {
        if (value.empty()) return;
        query += fmt::format("{}{}=", query.empty() ? "" : "&", name);
        for (const char c : value) {
            const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                               (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
            query +=
                plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<std::uint8_t>(c));
        }
    };
    add("limit", a.top);
    add("use_case", a.use_case);
    add("sort", a.sort);
    add("ram_gb", a.ram);
    add("vram_gb", a.vram);
    add("cpu_cores", a.cores);
    if (a.all) add("min_fit", "too_tight");
    return query;
}

fit::ListingContext this_machine() {
    using std::chrono::days;
    using std::chrono::floor;
    const std::chrono::year_month_day today(floor<days>(std::chrono::system_clock::now()));
    fit::ListingContext context;
    const fit::Machine machine;
    context.models = fit::built_in_models();
    context.system = machine.facts(1);
    context.node = machine.node();
    context.year = static_cast<int>(today.year());
    context.month = static_cast<std::int32_t>(static_cast<unsigned>(today.month()));
    return context;
}

std::string headline(const fit::SystemFacts& s, bool simulated) {
    std::string text = fmt::format("{}: {}, {} CPUs, {:.1f} GB of {:.1f} GB memory free",
                                   simulated ? "Simulated machine" : "This machine", s.cpu_name,
                                   s.n_cpus, s.available_ram_gb, s.total_ram_gb);
    if (s.has_gpu()) text += fmt::format("; {}, {:.1f} GB", s.gpus.front().name, s.vram_total_gb());
    return text + "\n";
}

std::string line(const Terminal& t, const fit::Row& row) {
    const fit::Estimate& e = row.estimate;
    const std::size_t width =
        std::max(kNarrowestName, t.width > kOtherColumns ? t.width - kOtherColumns : 0);
    std::string name = row.model->name;
    if (name.size() > width) name = name.substr(0, width - 2) + "..";
    const std::string level = fmt::format("{:<9}", label(e.level));
    return fmt::format("{:<{}}  {:>7}  {:<7} {:<11} {} {:>7.1f}  {:>7.1f}  {:>5.1f}\n", name, width,
                       fit::parameter_count(row.model->params), e.quantization, label(e.mode),
                       in_colour(t, e.level, level), e.required_gb, e.tokens_per_s, e.score);
}

std::string header(const Terminal& t) {
    const std::size_t width =
        std::max(kNarrowestName, t.width > kOtherColumns ? t.width - kOtherColumns : 0);
    return fmt::format("{:<{}}  {:>7}  {:<7} {:<11} {:<9} {:>7}  {:>7}  {:>5}\n", "MODEL", width,
                       "PARAMS", "QUANT", "RUNS ON", "FIT", "NEED GB", "TOK/S", "SCORE");
}

/// Everything that is known of one row.
std::string explain(const fit::Row& row) {
    const fit::Estimate& e = row.estimate;
    const fit::PublishedNeeds needs = fit::published_needs(*row.model);
    std::string out = fmt::format("\n{} ({}, {})\n", row.model->name, row.model->provider,
                                  fit::parameter_count(row.model->params));
    out += fmt::format("  fit       {}: {:.1f} of {:.1f} GB at {} tokens, {}\n", label(e.level),
                       e.required_gb, e.available_gb, e.context, e.quantization);
    out += fmt::format("  speed     {:.1f} tokens/s, estimated ({})\n", e.tokens_per_s, e.method);
    out += fmt::format("  context   {} tokens fit of {}\n", e.usable_context,
                       row.model->context_length);
    out += fmt::format("  needs     {:.1f} GB memory at least, {:.1f} GB recommended\n",
                       needs.min_ram_gb, needs.recommended_ram_gb);
    if (e.level == fit::FitLevel::too_tight) {
        out += fmt::format("  to fit    {:.1f} GB more, or a model of fewer parameters\n",
                           e.required_gb - e.available_gb);
    }
    for (const fit::Note& note : e.notes)
        out += fmt::format("  - {}\n", note.text);
    return out;
}

} // namespace

int run_fit(const Arguments& arguments) {
    const FitArguments& a = arguments.fit;
    const auto query = fit::parse_query(query_of(a));
    if (!query) return report(Error{Code::invalid_argument, query.error()});
    const fit::ListingContext context = this_machine();
    const bool one = !a.model.empty();
    const fit::Listing listing = one ? fit::Listing::one : fit::Listing::all;
    // A model that is asked for by name is shown whether it fits or not.
    fit::Query wanted = *query;
    if (one) wanted.min_fit = fit::FitLevel::too_tight;
    if (arguments.json) {
        print(fit::models_body(context, wanted, listing, a.model) + "\n");
        return 0;
    }
    const auto rows = fit::list_models(context, wanted, listing, a.model);
    if (one && rows.empty()) {
        return report(
            Error{Code::not_found,
                  fmt::format("no published model matches {}; 'darkbloom fit --all' lists "
                              "those that are known",
                              bloom::quoted(a.model))});
    }
    const Terminal t = terminal();
    std::string out = headline(fit::simulated(context.system, wanted), wanted.simulates());
    const auto shown = static_cast<std::size_t>(std::min<std::int64_t>(
        wanted.limit.value_or(kDefaultRows), static_cast<std::int64_t>(rows.size())));
    if (one) {
        for (std::size_t i = 0; i < shown; ++i)
            out += explain(rows[i]);
    } else {
        out += "\n" + header(t);
        for (std::size_t i = 0; i < shown; ++i)
            out += line(t, rows[i]);
    }
    out += fmt::format("\n{} of {} models. Estimates by the published method, nothing was measured "
                       "here; docs/fit.md says how.\n",
                       shown, rows.size());
    print(out);
    return 0;
}

} // namespace bloom::cli
