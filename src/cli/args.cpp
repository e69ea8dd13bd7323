#include <map>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <bloom/cli/args.hpp>

namespace bloom::cli {
namespace {

constexpr const char* kVersion = "darkbloom 0.1.0";

/// Flags of node settings on one verb; the values stay text until Settings checks them.
class SettingFlags {
public:
    void add(CLI::App& verb, std::initializer_list<const char*> keys) {
        for (const char* key : keys) {
            for (const Setting& setting : all_settings()) {
                if (std::string_view(setting.key) == key) add(verb, setting);
            }
        }
    }

    void add_all(CLI::App& verb) {
        for (const Setting& setting : all_settings())
            add(verb, setting);
    }

    Settings::Given given() const {
        Settings::Given out;
        for (const auto& [option, slot] : slots_) {
            if (option->count() > 0)
                out[slot->flag] = slot->is_flag
                                      ? std::vector<std::string>{slot->set ? "true" : "false"}
                                      : slot->values;
        }
        return out;
    }

private:
    struct Slot {
        std::string flag;
        bool is_flag = false;
        bool set = false;
        std::vector<std::string> values;
    };

    void add(CLI::App& verb, const Setting& setting) {
        auto slot = std::make_unique<Slot>();
        slot->flag = setting.flag;
        slot->is_flag = setting.kind == Setting::Kind::flag;
        CLI::Option* option = nullptr;
        if (slot->is_flag) {
            option = verb.add_flag(setting.flag, slot->set, setting.help);
        } else {
            option = verb.add_option(setting.flag, slot->values, setting.help);
            option->expected(1)->type_name("")->multi_option_policy(
                setting.kind == Setting::Kind::list ? CLI::MultiOptionPolicy::TakeAll
                                                    : CLI::MultiOptionPolicy::TakeLast);
        }
        slots_.emplace_back(option, std::move(slot));
    }

    std::vector<std::pair<CLI::Option*, std::unique_ptr<Slot>>> slots_;
};

void add_serve(CLI::App& app, Arguments& a, SettingFlags& flags) {
    CLI::App* verb = app.add_subcommand("serve", "serve the API and run models");
    verb->footer(
        "Example:\n  darkbloom serve --listen 0.0.0.0:8080 --model ./Qwen3-1.7B-Q8_0.gguf");
    verb->add_option("--config", a.config_file, "TOML file with any of these settings")
        ->type_name("");
    verb->add_flag("--print-config", a.print_config, "print every setting with its origin and end");
    flags.add_all(*verb);
    verb->final_callback([&a] { a.verb = Verb::serve; });
}

void add_chat(CLI::App& app, Arguments& a, SettingFlags& flags) {
    CLI::App* verb =
        app.add_subcommand("chat", "ask one question, or talk when no prompt is given");
    verb->footer("Example:\n  darkbloom chat \"What is Darkbloom?\"\n"
                 "The key for --url comes from DARKBLOOM_API_KEY.");
    verb->add_option("prompt", a.prompt, "the question")->type_name("");
    verb->add_option("--url", a.url, "a running node, for example http://127.0.0.1:8080")
        ->type_name("");
    verb->add_option("--model", a.chat_model, "model path or id")->type_name("");
    verb->add_option("--system", a.system, "system prompt")->type_name("");
    verb->add_option("--max-tokens", a.max_tokens, "longest answer")
        ->type_name("")
        ->check(CLI::Range(1, 1 << 20));
    verb->add_option("--temperature", a.temperature, "0 is greedy")
        ->type_name("")
        ->check(CLI::Range(0.0, 2.0));
    flags.add(*verb, {"serve.data_dir", "engine.threads", "engine.ctx", "engine.precise",
                      "engine.layers"});
    verb->final_callback([&a] { a.verb = Verb::chat; });
}

void add_models(CLI::App& app, Arguments& a, SettingFlags& flags) {
    CLI::App* verb = app.add_subcommand(
        "models", "the catalog, the models on this machine, what a node here serves");
    verb->footer("Example:\n  darkbloom models --json");
    verb->add_flag("--json", a.json, "machine-readable");
    flags.add(*verb, {"serve.data_dir"});
    verb->final_callback([&a] { a.verb = Verb::models; });
}

void add_inspect(CLI::App& app, Arguments& a, SettingFlags& flags) {
    CLI::App* verb =
        app.add_subcommand("inspect", "look into a model: file, tokenizer, raw logits");
    verb->footer("Example:\n  darkbloom inspect darkbloom/nano --tokenize \"Hello!\"");
    verb->add_option("model", a.target, "path or id")->required()->type_name("");
    verb->add_option("--tokenize", a.tokenize, "print the token ids of a text")
        ->type_name("")
        ->each([&a](const std::string&) { a.has_tokenize = true; });
    verb->add_option("--logits", a.logit_ids,
                     "token ids, comma separated: logits after the last one")
        ->delimiter(',')
        ->type_name("");
    verb->add_option("--top", a.top, "how many logits to print")
        ->type_name("")
        ->check(CLI::Range(1, 1 << 20));
    verb->add_flag("--json", a.json, "machine-readable");
    flags.add(*verb, {"engine.threads", "engine.layers", "engine.precise"});
    verb->final_callback([&a] { a.verb = Verb::inspect; });
}

void add_doctor(CLI::App& app, Arguments& a, SettingFlags& flags) {
    CLI::App* verb =
        app.add_subcommand("doctor", "what is wrong on this machine, and how to fix it");
    verb->footer("Example:\n  darkbloom doctor");
    verb->add_flag("--json", a.json, "machine-readable");
    flags.add(*verb, {"serve.data_dir", "serve.listen"});
    verb->final_callback([&a] { a.verb = Verb::doctor; });
}

constexpr int kRepetitionsMax = 1000;
constexpr double kBenchSecondsMax = 3600;

/// What every measurement of this machine has.
void add_measuring(CLI::App& verb, Arguments& a) {
    verb.add_option("--isa", a.bench.isa, "kernels to use (default: the fastest)")->type_name("");
    verb.add_option("--repetitions", a.bench.repetitions, "medians over so many runs")
        ->type_name("")
        ->check(CLI::Range(1, kRepetitionsMax));
    verb.add_flag("--json", a.json, "machine-readable");
}

void add_seconds(CLI::App& verb, Arguments& a) {
    verb.add_option("--seconds", a.bench.seconds, "measure each row at least so long")
        ->type_name("")
        ->check(CLI::Range(0.0, kBenchSecondsMax));
}

void add_bench_roofs(CLI::App& bench, Arguments& a) {
    CLI::App* verb = bench.add_subcommand("roofs", "what this machine can do at best");
    verb->footer("Example:\n  darkbloom bench roofs --threads 1,2");
    verb->add_option("--threads", a.bench.thread_counts,
                     "numbers of threads, comma separated (default: 1, 2, 4, ... all)")
        ->delimiter(',')
        ->type_name("")
        ->check(CLI::Range(1, 1024));
    add_measuring(*verb, a);
    verb->final_callback([&a] { a.verb = Verb::bench_roofs; });
}

void add_bench_kernels(CLI::App& bench, Arguments& a, SettingFlags& flags) {
    CLI::App* verb = bench.add_subcommand("kernels", "single operations beside their roofs");
    verb->footer(
        "Example:\n"
        "  darkbloom bench kernels --op dense --shape 5120,17408 --format affine8 --n 1,8\n"
        "  darkbloom bench kernels --op moe --shape 2048,1024,128,8 --n 1,32,512\n"
        "  darkbloom bench kernels --op attention --shape 32,8,128 --context 32768 --n 1\n"
        "  darkbloom bench kernels --op delta --shape 16,48,128,128 --n 1,512\n"
        "  darkbloom bench kernels --shapes all --n 1,512");
    verb->add_option("--op", a.bench.op, "dense, moe, attention or delta")
        ->type_name("")
        ->check(CLI::IsMember({"dense", "moe", "attention", "delta"}));
    verb->add_option("--shape", a.bench.shapes,
                     "K,M (dense), K,M,EXPERTS,TOPK (moe), HEADS,KV_HEADS,HEAD_DIM (attention), "
                     "KEY_HEADS,VALUE_HEADS,KEY_DIM,VALUE_DIM (delta)")
        ->type_name("");
    verb->add_option("--shapes", a.bench.catalog,
                     "a model of bench/shapes, or all: every matrix of it")
        ->type_name("");
    verb->add_option("--shapes-file", a.bench.shapes_files, "the same from a file of that kind")
        ->type_name("");
    verb->add_option("--format", a.bench.format, "q8_0 or affine8")
        ->type_name("")
        ->check(CLI::IsMember({"q8_0", "affine8"}));
    verb->add_option("--n", a.bench.n, "tokens (attention: sequences), comma separated")
        ->delimiter(',')
        ->type_name("")
        ->check(CLI::Range(1, 8192));
    verb->add_option("--context", a.bench.context, "attention: tokens that a sequence has")
        ->type_name("")
        ->check(CLI::Range(1, 1 << 22));
    verb->add_option("--working-set", a.bench.working_set_mb,
                     "MB of weights to go round in (default: many times the caches)")
        ->type_name("")
        ->check(CLI::Range(1, 1 << 20));
    add_measuring(*verb, a);
    add_seconds(*verb, a);
    flags.add(*verb, {"engine.threads"});
    verb->final_callback([&a] { a.verb = Verb::bench_kernels; });
}

void add_bench_model(CLI::App& bench, Arguments& a, SettingFlags& flags) {
    CLI::App* verb =
        bench.add_subcommand("model", "tokens per second beside the roof of this machine");
    verb->footer("Example:\n  darkbloom bench model --pp 512 --tg 64 --batch 1,4,8\n"
                 "  darkbloom bench model --shape trinity-mini-26b --layers 4 --format affine8");
    CLI::Option* file =
        verb->add_option("--model", a.target, "path or id (default: darkbloom/nano)")
            ->type_name("");
    verb->add_option("--shape", a.bench.model_shape,
                     "random weights in this shape, a name or a file of bench/shapes")
        ->type_name("")
        ->excludes(file);
    verb->add_option("--format", a.bench.format, "of random weights: q8_0 or affine8")
        ->type_name("")
        ->check(CLI::IsMember({"q8_0", "affine8"}));
    verb->add_option("--pp", a.bench.prefill_tokens, "prompt tokens")
        ->type_name("")
        ->check(CLI::Range(0, 1 << 20));
    verb->add_option("--tg", a.bench.decode_tokens, "generated tokens")
        ->type_name("")
        ->check(CLI::Range(0, 1 << 20));
    verb->add_option("--batch", a.bench.batches, "sequences at once, comma separated")
        ->delimiter(',')
        ->type_name("")
        ->check(CLI::Range(1, 4096));
    verb->add_option("--depth", a.bench.depth, "tokens that every sequence already has")
        ->type_name("")
        ->check(CLI::Range(0, 1 << 22));
    add_measuring(*verb, a);
    add_seconds(*verb, a);
    flags.add(*verb, {"engine.threads", "engine.layers", "engine.precise"});
    verb->final_callback([&a] { a.verb = Verb::bench_model; });
}

void add_bench_serve(CLI::App& bench, Arguments& a) {
    CLI::App* verb = bench.add_subcommand("serve", "a running node under load, open loop");
    verb->footer("Example:\n"
                 "  darkbloom bench serve --url http://127.0.0.1:8080 --rate 4 --duration 30\n"
                 "The key comes from DARKBLOOM_API_KEY.");
    verb->add_option("--url", a.url, "the node")->required()->type_name("");
    verb->add_option("--rate", a.bench.rate, "requests per second")
        ->required()
        ->type_name("")
        ->check(CLI::Range(0.001, 1e6));
    verb->add_option("--duration", a.bench.duration_s, "seconds in which requests begin")
        ->required()
        ->type_name("")
        ->check(CLI::Range(0.001, kBenchSecondsMax));
    verb->add_option("--concurrency", a.bench.concurrency,
                     "requests at once; later ones wait, and their waiting counts")
        ->type_name("")
        ->check(CLI::Range(1, 65536));
    verb->add_option("--model", a.target, "model id (default: the node's first)")->type_name("");
    verb->add_option("--prompt-tokens", a.bench.prompt_tokens, "words of the prompt")
        ->type_name("")
        ->check(CLI::Range(1, 1 << 20));
    verb->add_option("--max-tokens", a.bench.answer_tokens, "longest answer")
        ->type_name("")
        ->check(CLI::Range(1, 1 << 20));
    verb->add_flag("--stream,!--no-stream", a.bench.stream, "event streams (default) or not");
    verb->add_option("--dialect", a.bench.dialect, "chat, completions, responses or messages")
        ->type_name("")
        ->check(CLI::IsMember({"chat", "completions", "responses", "messages"}));
    verb->add_option("--arrivals", a.bench.arrivals, "poisson or even")
        ->type_name("")
        ->check(CLI::IsMember({"poisson", "even"}));
    verb->add_option("--seed", a.bench.seed, "of the arrival times")->type_name("");
    verb->add_flag("--json", a.json, "machine-readable");
    verb->final_callback([&a] { a.verb = Verb::bench_serve; });
}

void add_bench(CLI::App& app, Arguments& a, SettingFlags& flags) {
    CLI::App* verb = app.add_subcommand("bench", "measure this machine, a model or a node");
    verb->footer("Example:\n  darkbloom bench model --pp 512 --tg 64 --batch 1,4,8\n\n"
                 "docs/performance.md says how to read the figures.");
    verb->require_subcommand(1);
    add_bench_roofs(*verb, a);
    add_bench_kernels(*verb, a, flags);
    add_bench_model(*verb, a, flags);
    add_bench_serve(*verb, a);
}

void add_keys(CLI::App& app, Arguments& a, SettingFlags& flags) {
    CLI::App* verb =
        app.add_subcommand("keys", "create, list and revoke API keys of a data directory");
    verb->footer("Example:\n  darkbloom keys create --label laptop\n"
                 "A running node takes new and revoked keys at its next start.");
    verb->require_subcommand(1);
    CLI::App* create = verb->add_subcommand("create", "make a key for the owner and print it once");
    create->add_option("--label", a.label, "a name to recognise it by")->type_name("");
    flags.add(*create, {"serve.data_dir"});
    create->final_callback([&a] { a.verb = Verb::keys_create; });
    CLI::App* list = verb->add_subcommand("list", "show all keys, without their secrets");
    list->add_flag("--json", a.json, "machine-readable");
    flags.add(*list, {"serve.data_dir"});
    list->final_callback([&a] { a.verb = Verb::keys_list; });
    CLI::App* revoke = verb->add_subcommand("revoke", "end a key");
    revoke->add_option("id", a.key_id, "the id that 'keys list' shows")->required()->type_name("");
    flags.add(*revoke, {"serve.data_dir"});
    revoke->final_callback([&a] { a.verb = Verb::keys_revoke; });
}

void add_fit(CLI::App& app, Arguments& a) {
    CLI::App* verb = app.add_subcommand("fit", "which published models run on this machine");
    verb->footer("Example:\n  darkbloom fit --top 10 --use-case coding\n"
                 "  darkbloom fit gemma-4 --ram 64");
    verb->add_option("model", a.fit.model, "part of a name: explain those models")->type_name("");
    verb->add_option("--top", a.fit.top, "rows (default: 20)")->type_name("");
    verb->add_option("--use-case", a.fit.use_case,
                     "general, coding, reasoning, chat, multimodal or embedding")
        ->type_name("");
    verb->add_option("--sort", a.fit.sort, "score, tps, params, mem, ctx, date or use_case")
        ->type_name("");
    verb->add_option("--ram", a.fit.ram, "a machine with so many GB instead of this one")
        ->type_name("");
    verb->add_option("--vram", a.fit.vram, "with a GPU of so many GB")->type_name("");
    verb->add_option("--cores", a.fit.cores, "with so many processors")->type_name("");
    verb->add_flag("--all", a.fit.all, "those that do not fit, too");
    verb->add_flag("--json", a.json, "machine-readable, as the fit API answers");
    verb->final_callback([&a] { a.verb = Verb::fit; });
}

void add_verify_response(CLI::App& app, Arguments& a) {
    CLI::App* verb = app.add_subcommand("verify-response",
                                        "check hash, signature and statement of a saved response");
    verb->footer("Example:\n"
                 "  curl -sN -D head -o body URL/v1/chat/completions ...\n"
                 "  darkbloom verify-response --headers head --body body --url URL\n"
                 "A file is '-' for the standard input. Exit code 0: verified; 1: not.");
    CLI::Option* dump =
        verb->add_option("dump", a.verify.dump, "what curl -i wrote, or a stream alone")
            ->type_name("");
    CLI::Option* body =
        verb->add_option("--body", a.verify.body, "the body alone")->type_name("")->excludes(dump);
    verb->add_option("--headers", a.verify.headers, "what curl -D wrote")
        ->type_name("")
        ->needs(body);
    verb->add_option("--request", a.verify.request, "the request's body, to be compared")
        ->type_name("");
    CLI::Option* key = verb->add_option("--key", a.verify.key,
                                        "the key that must have signed, base64 (SPKI or point)")
                           ->type_name("");
    verb->add_option("--url", a.verify.url, "a node that is trusted to know the machine's key")
        ->type_name("")
        ->excludes(key);
    verb->add_flag("--json", a.json, "machine-readable");
    verb->final_callback([&a] {
        if (a.verify.dump.empty() && a.verify.body.empty())
            throw CLI::RequiredError("a dump or --body");
        a.verb = Verb::verify_response;
    });
}

} // namespace

Arguments parse_arguments(int argc, char** argv) {
    Arguments arguments;
    SettingFlags flags;
    CLI::App app("Darkbloom: an inference node with an OpenAI-compatible API in one binary.",
                 "darkbloom");
    app.footer("Example:\n  darkbloom serve\n'darkbloom VERB --help' tells more about a verb.");
    app.set_version_flag("--version", kVersion);
    app.require_subcommand(1);
    add_serve(app, arguments, flags);
    add_chat(app, arguments, flags);
    add_models(app, arguments, flags);
    add_inspect(app, arguments, flags);
    add_doctor(app, arguments, flags);
    add_bench(app, arguments, flags);
    add_keys(app, arguments, flags);
    add_fit(app, arguments);
    add_verify_response(app, arguments);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& failure) {
        const bool asked = failure.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success);
        app.exit(failure);
        arguments.verb = Verb::none;
        arguments.exit_code = asked ? 0 : 2;
        return arguments;
    }
    arguments.flags = flags.given();
    return arguments;
}

} // namespace bloom::cli
