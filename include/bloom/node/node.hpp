#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/net/address.hpp>

namespace bloom::node {

/// File in the data directory that holds the node's URL while it runs; `chat` finds it there.
inline constexpr std::string_view kUrlFile = "node.url";

struct ModelSpec {
    std::string source; ///< path, or id of a built-in model
    std::string alias;  ///< empty: the catalog's id, or its own name
};

/// Everything that a combined node is made of, as plain values.
struct NodeOptions {
    net::Address listen;
    std::string data_dir;
    std::string serial = "derived"; ///< or `chassis`: what requests pin this machine by
    std::string owner_key;          ///< from the environment; empty: generated on the first start
    std::vector<ModelSpec> models;  ///< empty: the built-in one
    std::vector<std::string> cors_origins;
    bool list_catalog = false; ///< entries that nobody serves are in /v1/models, too
    std::string tls_certificate;
    std::string tls_key;
    std::size_t n_io_threads = 1;
    std::chrono::seconds drain_timeout{60};
    std::chrono::seconds write_stall_timeout{60};

    // engine
    int n_threads = 0; ///< 0: one per core
    std::int32_t ctx = 0;
    std::int32_t n_layers = 0;
    std::int32_t max_sequences = 64;
    std::int32_t max_queued = 1024;
    std::int64_t kv_cache_bytes = 0; ///< 0: chosen from free memory
    std::int64_t swap_bytes = 0;     ///< for sequences that had to make way, per model
    std::int32_t inter_token_ms = 0; ///< bound on the time between tokens; 0: none
    bool speculate = true;
    bool draft_head = true;              ///< with speculate: a model's own head guesses
    std::int64_t state_cache_bytes = -1; ///< for snapshots of recurrent states, per model
    bool precise = false;
    std::string packed_cache; ///< directory of packed weights; empty: none
};

/// Builds the node, serves until it is told to stop, and takes it down in order. Prints the ready
/// line on stdout. Blocks; call from main after rt::prepare_signals(). Errors: invalid_argument,
/// io_error (exit codes 2 and 1), machine_lacks (3).
Result<> run_node(const NodeOptions& options);

/// Version of this build.
std::string_view version() noexcept;

} // namespace bloom::node
