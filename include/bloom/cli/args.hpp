#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/cli/settings.hpp>

namespace bloom::cli {

enum class Verb : std::uint8_t {
    none, ///< help or version was printed, or the usage was wrong: see exit_code
    serve,
    chat,
    models,
    inspect,
    doctor,
    bench_roofs,
    bench_kernels,
    bench_model,
    bench_serve,
    keys_create,
    keys_list,
    keys_revoke,
    verify_response,
    fit,
};

/// Flags of the bench verbs; those that a verb does not have keep their defaults.
struct BenchArguments {
    std::string isa; ///< empty: the fastest, or what DARKBLOOM_KERNEL_ISA says
    std::int32_t repetitions = 5;
    double seconds = 0;
    std::vector<std::int32_t> thread_counts; ///< roofs

    // kernels
    std::string op;
    std::vector<std::string> shapes; ///< --shape, each as text
    std::string format = "q8_0";
    std::vector<std::int32_t> n{1, 8, 128};
    std::int32_t context = 4096;
    std::string catalog; ///< --shapes
    std::vector<std::string> shapes_files;
    std::int32_t working_set_mb = 0;

    // model
    std::string model_shape; ///< --shape: random weights instead of a file
    std::int32_t prefill_tokens = 512;
    std::int32_t decode_tokens = 64;
    std::vector<std::int32_t> batches{1, 4, 8, 16};
    std::int32_t depth = 0;

    // serve
    double rate = 0;
    double duration_s = 0;
    std::int32_t concurrency = 256;
    std::int32_t prompt_tokens = 32;
    std::int32_t answer_tokens = 64;
    bool stream = true;
    std::string dialect = "chat";
    std::string arrivals = "poisson";
    std::uint64_t seed = 1;
};

/// Flags of verify-response: files, `-` for the standard input.
struct VerifyArguments {
    std::string dump; ///< of curl -i, or a stream alone
    std::string body;
    std::string headers;
    std::string request;
    std::string key;
    std::string url;
};

/// Flags of fit, as text: the fit API's own reader checks them.
struct FitArguments {
    std::string model; ///< part of a name; empty: the table
    std::string top;
    std::string use_case;
    std::string sort;
    std::string ram;
    std::string vram;
    std::string cores;
    bool all = false;
};

/// The command line, read. Members that a verb does not have keep their defaults.
struct Arguments {
    Verb verb = Verb::none;
    int exit_code = 0; ///< with Verb::none

    // Verbs that take node settings.
    std::string config_file;
    Settings::Given flags;
    bool print_config = false;

    bool json = false;

    // chat
    std::string prompt;
    std::string url;
    std::string chat_model;
    std::string system;
    std::int64_t max_tokens = 1024;
    double temperature = 0.7;

    // inspect, bench
    std::string target;
    std::string tokenize;
    bool has_tokenize = false;
    std::vector<std::int32_t> logit_ids;
    std::int32_t top = 10;

    BenchArguments bench;
    VerifyArguments verify;
    FitArguments fit;

    // keys
    std::string key_id;
    std::string label;
};

/// Reads argv. Help goes to stdout, usage errors to stderr (exit code 2).
Arguments parse_arguments(int argc, char** argv);

} // namespace bloom::cli
