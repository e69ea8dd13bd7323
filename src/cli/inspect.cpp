#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/cli/verbs.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/provider/model_source.hpp>
#include <bloom/text/tokenizer.hpp>

#include "cli/assessment.hpp"
#include "cli/common.hpp"
#include "cli/engine_setup.hpp"

namespace bloom::cli {
namespace {

/// Enough cache for the ids of one command line.
constexpr std::int64_t kInspectKvBytes = std::int64_t{256} << 20;

Result<LocalEngine> load(const Arguments& arguments) {
    BLOOM_TRY(const Settings settings, Settings::load({}, arguments.flags));
    BLOOM_TRY(const std::string source, locate(arguments.target, settings));
    LocalEngineOptions options;
    options.n_threads = static_cast<int>(settings.integer("engine.threads"));
    options.n_layers = static_cast<std::int32_t>(settings.integer("engine.layers"));
    options.precise = settings.flag("engine.precise");
    options.kv_budget_bytes = kInspectKvBytes;
    return load_engine(source, options);
}

/// The model that the command names, opened.
struct Target {
    Settings settings;
    std::string source;
    engine::ModelFile file;
};

Result<Target> open_target(const Arguments& arguments) {
    BLOOM_TRY(Settings settings, Settings::load({}, arguments.flags));
    BLOOM_TRY(std::string source, locate(arguments.target, settings));
    BLOOM_TRY(engine::ModelFile file, provider::open_model(source));
    return Target{std::move(settings), std::move(source), std::move(file)};
}

Result<> show_tokens(const Arguments& arguments) {
    BLOOM_TRY(const Target target, open_target(arguments));
    BLOOM_TRY(engine::ModelTokenizer parts, target.file.tokenizer());
    BLOOM_TRY(const auto tokenizer, text::Tokenizer::create(std::move(parts.vocab)));
    std::vector<std::int32_t> ids;
    BLOOM_OK(tokenizer->encode(arguments.tokenize, {}, ids));
    std::string out;
    if (arguments.json) {
        json::Writer w(out);
        w.begin_object().key("tokens").begin_array();
        for (const std::int32_t id : ids) {
            w.begin_object()
                .key("id")
                .integer(id)
                .key("text")
                .string(tokenizer->bytes_of(id))
                .end_object();
        }
        w.end_array().end_object();
        out += '\n';
    } else {
        for (const std::int32_t id : ids)
            out += fmt::format("{:8} {}\n", id, bloom::quoted(tokenizer->bytes_of(id)));
        out += fmt::format("{} tokens\n", ids.size());
    }
    print(out);
    return {};
}

/// Indices of the n largest logits, largest first, lower ids first among equals.
std::vector<std::int32_t> top_of(const std::vector<float>& logits, std::int32_t n) {
    std::vector<std::int32_t> order(logits.size());
    std::iota(order.begin(), order.end(), 0);
    const auto count = std::min<std::ptrdiff_t>(n, static_cast<std::ptrdiff_t>(order.size()));
    const auto value = [&](std::int32_t id) { return logits[static_cast<std::size_t>(id)]; };
    std::partial_sort(order.begin(), order.begin() + count, order.end(),
                      [&](std::int32_t a, std::int32_t b) {
                          return value(a) != value(b) ? value(a) > value(b) : a < b;
                      });
    order.resize(static_cast<std::size_t>(count));
    return order;
}

Result<> show_logits(const Arguments& arguments) {
    BLOOM_TRY(const LocalEngine local, load(arguments));
    std::vector<float> last;
    BLOOM_OK(local.engine->logits(arguments.logit_ids,
                                  [&](std::int64_t /*position*/, std::span<const float> logits) {
                                      last.assign(logits.begin(), logits.end());
                                  }));
    const text::Tokenizer& tokenizer = local.engine->tokenizer();
    std::string out;
    const std::vector<std::int32_t> top = top_of(last, arguments.top);
    if (arguments.json) {
        json::Writer w(out);
        w.begin_object()
            .key("position")
            .integer(arguments.logit_ids.size() - 1)
            .key("top")
            .begin_array();
        for (const std::int32_t id : top) {
            w.begin_object().key("id").integer(id).key("logit").number(
                last[static_cast<std::size_t>(id)]);
            w.key("text").string(tokenizer.bytes_of(id)).end_object();
        }
        w.end_array().end_object();
        out += '\n';
    } else {
        for (const std::int32_t id : top) {
            out += fmt::format("{:8} {:12.6f} {}\n", id, last[static_cast<std::size_t>(id)],
                               bloom::quoted(tokenizer.bytes_of(id)));
        }
    }
    print(out);
    return {};
}

std::int64_t n_expert_layers(const engine::ModelConfig& config) {
    std::int64_t n = 0;
    for (std::int64_t i = 0; i < config.n_layers; ++i)
        n += config.has_experts(i) ? 1 : 0;
    return n;
}

std::string file_as_json(const engine::ModelFile& file, const Assessment& assessment) {
    const engine::ModelConfig& config = file.config();
    std::string out;
    json::Writer w(out);
    w.begin_object()
        .key("name")
        .string(file.name())
        .key("container")
        .string(to_string(file.container()));
    w.key("architecture")
        .string(to_string(config.arch))
        .key("file_bytes")
        .integer(file.file_bytes());
    w.key("n_parameters").integer(file.n_parameters()).key("n_layers").integer(config.n_layers);
    w.key("d_model").integer(config.d_model).key("n_heads").integer(config.n_heads);
    w.key("n_kv_heads").integer(config.n_kv_heads).key("head_dim").integer(config.head_dim);
    w.key("ffn_dim").integer(config.ffn_dim).key("vocab_rows").integer(config.vocab_rows);
    w.key("context_length").integer(config.ctx_len);
    if (const engine::ExpertConfig& e = config.experts; e.n_experts > 0) {
        w.key("experts").begin_object().key("n_experts").integer(e.n_experts);
        w.key("top_k").integer(e.top_k).key("ffn_dim").integer(e.ffn_dim);
        w.key("normalise").boolean(e.normalise).key("scale").number(e.scale);
        w.key("n_layers").integer(n_expert_layers(config)).end_object();
    }
    write_assessment(w, assessment);
    w.key("metadata").begin_object();
    for (const engine::MetadataEntry& entry : file.metadata())
        w.key(entry.key).string(entry.value);
    w.end_object().key("tensors").begin_array();
    for (const engine::TensorInfo& tensor : file.tensors()) {
        w.begin_object()
            .key("name")
            .string(tensor.name)
            .key("dtype")
            .string(to_string(tensor.type));
        w.key("shape").begin_array();
        for (const auto dim : tensor.shape())
            w.integer(dim);
        w.end_array().key("bytes").integer(tensor.bytes).end_object();
    }
    w.end_array().key("warnings").begin_array();
    for (const std::string& warning : file.warnings())
        w.string(warning);
    w.end_array().end_object();
    out += '\n';
    return out;
}

std::string file_as_text(const engine::ModelFile& file, const Assessment& assessment) {
    const engine::ModelConfig& c = file.config();
    std::string out =
        fmt::format("{}: {} in {}, {} parameters, {}\n", file.name(), to_string(c.arch),
                    to_string(file.container()), file.n_parameters(),
                    human_bytes(static_cast<double>(file.file_bytes())));
    out += fmt::format(
        "layers {}, width {}, heads {} / {} of {}, feed-forward {}, vocabulary {}, context {}\n",
        c.n_layers, c.d_model, c.n_heads, c.n_kv_heads, c.head_dim, c.ffn_dim, c.vocab_rows,
        c.ctx_len);
    if (const engine::ExpertConfig& e = c.experts; e.n_experts > 0) {
        out += fmt::format("experts {} of width {} in {} layers, {} for each token{}\n",
                           e.n_experts, e.ffn_dim, n_expert_layers(c), e.top_k,
                           e.normalise ? ", weights normalised" : "");
    }
    out += assessment_as_text(assessment);
    out += '\n';
    for (const engine::MetadataEntry& entry : file.metadata()) {
        out += fmt::format("{:44} {:18} {}\n", entry.key, entry.type, entry.value);
    }
    out += '\n';
    for (const engine::TensorInfo& tensor : file.tensors()) {
        std::string shape;
        for (const auto dim : tensor.shape())
            shape += fmt::format("{}{}", shape.empty() ? "" : " x ", dim);
        out += fmt::format("{:44} {:6} {:20} {}\n", tensor.name, to_string(tensor.type), shape,
                           human_bytes(static_cast<double>(tensor.bytes)));
    }
    for (const std::string& warning : file.warnings())
        out += "warning: " + warning + "\n";
    return out;
}

Result<> show_file(const Arguments& arguments) {
    BLOOM_TRY(const Target target, open_target(arguments));
    const Assessment assessment =
        assess(target.file, target.source, target.settings.integer("engine.layers"),
               target.settings.flag("engine.precise"));
    print(arguments.json ? file_as_json(target.file, assessment)
                         : file_as_text(target.file, assessment));
    return {};
}

} // namespace

int run_inspect(const Arguments& arguments) {
    Result<> done;
    if (arguments.has_tokenize) {
        done = show_tokens(arguments);
    } else if (!arguments.logit_ids.empty()) {
        done = show_logits(arguments);
    } else {
        done = show_file(arguments);
    }
    return done ? 0 : report(done.error());
}

} // namespace bloom::cli
