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
    bench_model,
    keys_create,
    keys_list,
    keys_revoke,
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
    std::int32_t prefill_tokens = 512;
    std::int32_t decode_tokens = 64;
    std::vector<std::int32_t> batches{1, 4, 8};
    std::int32_t repetitions = 3;

    // keys
    std::string key_id;
    std::string label;
};

/// Reads argv. Help goes to stdout, usage errors to stderr (exit code 2).
Arguments parse_arguments(int argc, char** argv);

} // namespace bloom::cli
