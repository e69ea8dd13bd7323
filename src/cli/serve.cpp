#include <cstdlib>
#include <set>

#include <fmt/format.h>

#include <bloom/base/log.hpp>
#include <bloom/base/text.hpp>
#include <bloom/cli/verbs.hpp>
#include <bloom/node/node.hpp>
#include <bloom/provider/model_source.hpp>
#include <bloom/provider/null_link.hpp>
#include <bloom/rt/signals.hpp>

#include "cli/common.hpp"

namespace bloom::cli {
namespace {

constexpr std::int64_t kMiB = std::int64_t{1} << 20;

Result<> set_up_log(const Settings& settings) {
    log::Level level{};
    if (!log::parse_level(settings.text("log.level"), level)) {
        return Error{Code::invalid_argument,
                     fmt::format("log.level: {} is none of trace, debug, info, warn, error, off",
                                 bloom::quoted(settings.text("log.level")))};
    }
    const std::string& format = settings.text("log.format");
    if (format != "text" && format != "json") {
        return Error{Code::invalid_argument,
                     fmt::format("log.format: {} is neither text nor json", bloom::quoted(format))};
    }
    log::init(level, format == "json");
    return {};
}

Result<> check_choices(const Settings& settings) {
    if (const std::string& role = settings.text("serve.role"); role != "combined") {
        return Error{Code::invalid_argument,
                     fmt::format("serve.role: {} is not a role of this build; it has: combined",
                                 bloom::quoted(role))};
    }
    if (const std::string& device = settings.text("engine.device");
        device != "auto" && device != "cpu") {
        return Error{
            Code::invalid_argument,
            fmt::format("engine.device: {} is not a device of this build; it has: auto, cpu",
                        bloom::quoted(device))};
    }
    if (const std::string& mode = settings.text("engine.speculation");
        mode != "auto" && mode != "lookup" && mode != "off") {
        return Error{Code::invalid_argument,
                     fmt::format("engine.speculation: {} is none of auto, lookup and off",
                                 bloom::quoted(mode))};
    }
    if (const std::string& serial = settings.text("provider.serial");
        serial != "derived" && serial != "chassis") {
        return Error{Code::invalid_argument,
                     fmt::format("provider.serial: {} is neither derived nor chassis",
                                 bloom::quoted(serial))};
    }
    if (settings.text("serve.tls_certificate").empty() != settings.text("serve.tls_key").empty()) {
        return Error{Code::invalid_argument,
                     "serve.tls_certificate and serve.tls_key go together; one is missing"};
    }
    return {};
}

/// What can be told about the models before the node listens: where they are, and that they have
/// names of their own. Ids become paths.
Result<> check_models(std::vector<node::ModelSpec>& models, const Settings& settings) {
    std::set<std::string> ids;
    for (node::ModelSpec& model : models) {
        auto found = locate(model.source, settings);
        if (!found) return Error{Code::invalid_argument, std::string(found.error().message())};
        model.source = std::move(*found);
        const std::string id = model.alias.empty() && model.source != provider::kNullModel
                                   ? provider::default_model_id(model.source)
                                   : (model.alias.empty() ? model.source : model.alias);
        if (!ids.insert(id).second) {
            return Error{
                Code::invalid_argument,
                fmt::format("engine.model: two models would be called {}; give one of them "
                            "another name: {}=NAME",
                            bloom::quoted(id), model.source)};
        }
    }
    return {};
}

Result<node::NodeOptions> node_options(const Settings& settings) {
    BLOOM_OK(check_choices(settings));
    node::NodeOptions options;
    auto listen = net::Address::parse(settings.text("serve.listen"));
    if (!listen) return std::unexpected(std::move(listen).error().with_context("serve.listen"));
    options.listen = *listen;
    options.data_dir = data_dir_of(settings);
    options.serial = settings.text("provider.serial");
    if (const char* key = std::getenv("DARKBLOOM_OWNER_KEY")) options.owner_key = key;
    for (const std::string& text : settings.list("engine.model")) {
        provider::ModelSource model = provider::ModelSource::parse(text);
        options.models.push_back({std::move(model.source), std::move(model.alias)});
    }
    BLOOM_OK(check_models(options.models, settings));
    options.list_catalog = settings.flag("serve.list_catalog");
    options.cors_origins = settings.list("serve.cors_origins");
    options.tls_certificate = settings.text("serve.tls_certificate");
    options.tls_key = settings.text("serve.tls_key");
    options.n_io_threads = static_cast<std::size_t>(settings.integer("serve.io_threads"));
    options.drain_timeout = std::chrono::seconds(settings.integer("serve.drain_timeout_s"));
    options.write_stall_timeout =
        std::chrono::seconds(settings.integer("serve.write_stall_timeout_s"));
    options.n_threads = static_cast<int>(settings.integer("engine.threads"));
    options.ctx = static_cast<std::int32_t>(settings.integer("engine.ctx"));
    options.n_layers = static_cast<std::int32_t>(settings.integer("engine.layers"));
    options.max_sequences = static_cast<std::int32_t>(settings.integer("engine.max_sequences"));
    options.max_queued = static_cast<std::int32_t>(settings.integer("engine.max_queued"));
    options.kv_cache_bytes = settings.integer("engine.kv_cache_mib") * kMiB;
    options.swap_bytes = settings.integer("engine.swap_mib") * kMiB;
    options.inter_token_ms = static_cast<std::int32_t>(settings.integer("engine.inter_token_ms"));
    options.speculate = settings.text("engine.speculation") != "off";
    options.draft_head = settings.text("engine.speculation") == "auto";
    if (const std::int64_t mib = settings.integer("engine.state_cache_mib"); mib >= 0)
        options.state_cache_bytes = mib * kMiB;
    options.precise = settings.flag("engine.precise");
    if (settings.text("engine.packed_cache") != "off")
        options.packed_cache = settings.text("engine.packed_cache");
    return options;
}

} // namespace

int run_serve(const Arguments& arguments) {
    const Result<Settings> settings = Settings::load(arguments.config_file, arguments.flags);
    if (!settings) return report(settings.error());
    if (arguments.print_config) {
        print(settings->print());
        return 0;
    }
    if (const Result<> logging = set_up_log(*settings); !logging) return report(logging.error());
    const Result<node::NodeOptions> options = node_options(*settings);
    if (!options) return report(options.error());
    if (const Result<> prepared = rt::prepare_signals(); !prepared) return report(prepared.error());
    const Result<> served = node::run_node(*options);
    return served ? 0 : report(served.error());
}

} // namespace bloom::cli
