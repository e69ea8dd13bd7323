#include <algorithm>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bloom/api/model_json.hpp>
#include <bloom/cli/verbs.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/provider/model_folder.hpp>
#include <bloom/provider/model_source.hpp>

#include "cli/chat_backend.hpp"
#include "cli/common.hpp"

namespace bloom::cli {
namespace {

using registry::Catalog;
using registry::CatalogEntry;

/// A model on this machine.
struct Found {
    std::string id; ///< what it is served under
    std::string where;
    std::string architecture;
    std::uint64_t bytes = 0;
    const CatalogEntry* entry = nullptr;
    std::string fault; ///< why it cannot be opened; empty: it can
};

Found look_at(const std::string& source, const std::string& where) {
    Found found{provider::default_model_id(source), where, {}, 0, nullptr, {}};
    const auto file = provider::open_model(source);
    if (!file) {
        found.fault = std::string(file.error().message());
        return found;
    }
    found.entry = Catalog::built_in().recognise(provider::facts_of(*file, source, {}));
    if (found.entry != nullptr) found.id = found.entry->id;
    found.architecture = engine::to_string(file->config().arch);
    found.bytes = file->file_bytes();
    return found;
}

/// The built-in model and whatever lies in the models folder.
std::vector<Found> find_models(const std::string& models_dir) {
    std::vector<Found> found;
    found.push_back(look_at(std::string(provider::kBuiltInModel), "built in"));
    for (const provider::FoundModel& model : provider::models_in(models_dir))
        found.push_back(look_at(model.path.string(), model.path.string()));
    return found;
}

/// What a node of this data directory serves.
struct Running {
    std::string url; ///< empty: none answers
    std::vector<std::string> ids;
    std::string fault; ///< why the node did not tell
};

Running ask_node(const Settings& settings) {
    Running out;
    out.url = running_node(settings);
    if (out.url.empty()) return out;
    const std::string key = key_from_environment();
    if (key.empty()) {
        out.fault = "set DARKBLOOM_API_KEY to see what it serves";
        return out;
    }
    auto ids = served_models(out.url, key);
    if (ids) {
        out.ids = std::move(*ids);
    } else {
        out.fault = std::string(ids.error().message());
    }
    return out;
}

/// Whether the node serves the entry under its own or its public id.
bool serves(const Running& node, const CatalogEntry& entry) {
    return std::ranges::any_of(
        node.ids, [&](const std::string& id) { return id == entry.id || id == entry.public_id(); });
}

bool has(const std::vector<Found>& found, const CatalogEntry& entry) {
    return std::ranges::find(found, &entry, &Found::entry) != found.end();
}

std::string as_json(const std::vector<Found>& found, const Running& node) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("catalog").begin_array();
    for (const CatalogEntry& entry : Catalog::built_in().entries()) {
        std::string record;
        api::append_catalog_entry(record, entry);
        w.begin_object().key("on_disk").boolean(has(found, entry));
        w.key("loaded").boolean(serves(node, entry)).key("record").raw(record).end_object();
    }
    w.end_array().key("models").begin_array();
    for (const Found& model : found) {
        w.begin_object().key("id").string(model.id).key("location").string(model.where);
        w.key("architecture").string(model.architecture);
        w.key("size_bytes").integer(model.bytes).key("catalog_id");
        model.entry != nullptr ? w.string(model.entry->id) : w.null();
        if (!model.fault.empty()) w.key("error").string(model.fault);
        w.end_object();
    }
    w.end_array().key("node");
    if (node.url.empty()) {
        w.null();
    } else {
        w.begin_object().key("url").string(node.url).key("loaded").begin_array();
        for (const std::string& id : node.ids)
            w.string(id);
        w.end_array();
        if (!node.fault.empty()) w.key("error").string(node.fault);
        w.end_object();
    }
    w.end_object();
    out += '\n';
    return out;
}

std::string as_text(const std::vector<Found>& found, const Running& node,
                    const std::string& models_dir) {
    std::string out = "Catalog (USD per million tokens in / out)\n";
    for (const CatalogEntry& entry : Catalog::built_in().entries()) {
        constexpr double kMicro = 1e6;
        out += fmt::format("  {:40} {:22} {:>4} GB, needs {:>3} GB  {:6.3f} / {:5.3f}  {}\n",
                           entry.public_id(), entry.architecture, entry.size_gb, entry.min_ram_gb,
                           static_cast<double>(entry.input_price) / kMicro,
                           static_cast<double>(entry.output_price) / kMicro,
                           serves(node, entry) ? "loaded"
                           : has(found, entry) ? "on disk"
                                               : "-");
    }
    out += fmt::format("\nOn this machine ({})\n", models_dir);
    for (const Found& model : found) {
        out += model.fault.empty()
                   ? fmt::format("  {:40} {:10} {:>10}  {}\n", model.id, model.architecture,
                                 human_bytes(static_cast<double>(model.bytes)), model.where)
                   : fmt::format("  {:40} cannot be opened: {}\n", model.id, model.fault);
    }
    if (node.url.empty()) return out;
    out += fmt::format("\nServed by {}\n", node.url);
    if (!node.fault.empty()) out += "  " + node.fault + "\n";
    for (const std::string& id : node.ids)
        out += "  " + id + "\n";
    return out;
}

} // namespace

int run_models(const Arguments& arguments) {
    const Result<Settings> settings = Settings::load({}, arguments.flags);
    if (!settings) return report(settings.error());
    const std::string models_dir = models_dir_of(*settings);
    const std::vector<Found> found = find_models(models_dir);
    const Running node = ask_node(*settings);
    print(arguments.json ? as_json(found, node) : as_text(found, node, models_dir));
    return 0;
}

} // namespace bloom::cli
