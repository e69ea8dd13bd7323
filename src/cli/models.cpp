#include <filesystem>

#include <fmt/format.h>

#include <bloom/cli/verbs.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/provider/model_source.hpp>

#include "cli/common.hpp"

namespace bloom::cli {
namespace {

struct Found {
    std::string id;
    std::string where;
    std::string architecture;
    std::uint64_t bytes = 0;
};

void look_at(const std::string& source, const std::string& where, std::vector<Found>& found) {
    const auto file = provider::open_model(source);
    if (!file) return; // not a model; the folder may hold other things
    found.push_back({provider::default_model_id(source), where,
                     std::string(engine::to_string(file->config().arch)), file->file_bytes()});
}

/// The built-in model and whatever lies in the data directory's models/ folder.
std::vector<Found> find_models(const std::string& data_dir) {
    std::vector<Found> found;
    look_at(std::string(provider::kBuiltInModel), "built in", found);
    std::error_code failure;
    for (std::filesystem::directory_iterator it(data_dir + "/models", failure), end;
         !failure && it != end; it.increment(failure)) {
        if (it->is_directory() || it->path().extension() == ".gguf")
            look_at(it->path(), it->path(), found);
    }
    return found;
}

} // namespace

int run_models(const Arguments& arguments) {
    const Result<Settings> settings = Settings::load({}, arguments.flags);
    if (!settings) return report(settings.error());
    const std::vector<Found> models = find_models(data_dir_of(*settings));
    std::string out;
    if (arguments.json) {
        json::Writer w(out);
        w.begin_object().key("models").begin_array();
        for (const Found& model : models) {
            w.begin_object().key("id").string(model.id).key("location").string(model.where);
            w.key("architecture")
                .string(model.architecture)
                .key("size_bytes")
                .integer(model.bytes)
                .end_object();
        }
        w.end_array().end_object();
        out += '\n';
    } else {
        for (const Found& model : models) {
            out += fmt::format("{:32} {:8} {:>10}  {}\n", model.id, model.architecture,
                               human_bytes(static_cast<double>(model.bytes)), model.where);
        }
    }
    print(out);
    return 0;
}

} // namespace bloom::cli
