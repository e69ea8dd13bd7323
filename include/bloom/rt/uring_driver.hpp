#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include <bloom/base/result.hpp>
#include <bloom/rt/driver.hpp>
#include <bloom/rt/shard_set.hpp>

namespace bloom::rt {

/// How a ring is set up. Level 0 is the best a kernel offers; each step gives up one feature.
enum class UringLevel : std::uint8_t {
    defer_taskrun, ///< SINGLE_ISSUER, DEFER_TASKRUN (6.1)
    coop_taskrun,  ///< SINGLE_ISSUER, COOP_TASKRUN (6.0)
    plain,         ///< neither (5.19)
};

struct UringOptions {
    unsigned sq_entries = 1024;
    unsigned cq_entries = 8192;
    /// Provided buffers: a power of two, at most 32768.
    unsigned n_buffers = 1024;
    unsigned buffer_bytes = 4096;
    /// Where to start trying; tests use it to reach the fallbacks.
    UringLevel level = UringLevel::defer_taskrun;
    bool multishot_recv = true;
};

/// What the ring in use can do, for the log and for tests.
struct UringFeatures {
    UringLevel level = UringLevel::plain;
    bool multishot_recv = false;
};

/// A driver over one io_uring. Errors: machine_lacks, naming cause and fix, where io_uring cannot
/// be used. `pool` outlives the driver.
Result<std::unique_ptr<Driver>> make_uring_driver(const UringOptions& options, BlockingPool& pool);

/// Which features a ring made with these options uses; one line for the log. Errors: as above.
Result<UringFeatures> probe_uring(const UringOptions& options);
std::string describe(const UringFeatures& features);

/// Explains a failed io_uring_setup. `disabled` is /proc/sys/kernel/io_uring_disabled where it
/// exists.
Error explain_uring_failure(int sys_errno, std::optional<int> disabled);

/// Real shards, one ring and one thread each. Logs the features once. Errors: machine_lacks.
Result<std::unique_ptr<ShardSet>> start_shards(const ShardSetOptions& options,
                                               const UringOptions& uring = {});

} // namespace bloom::rt
