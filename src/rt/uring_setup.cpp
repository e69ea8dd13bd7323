#include "rt/uring_setup.hpp"

#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fmt/format.h>

#include <bloom/base/fd.hpp>

#include "rt/buf_ring.hpp"

namespace bloom::rt {
namespace {

// Values of <linux/io_uring.h> that older headers lack are all in liburing 2.3.
constexpr std::array<unsigned, 3> kLevelFlags{
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    0,
};

std::optional<int> read_disabled_sysctl() {
    const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(
        std::fopen("/proc/sys/kernel/io_uring_disabled", "re"), &std::fclose);
    int value = 0;
    if (!file || std::fscanf(file.get(), "%d", &value) != 1) return std::nullopt;
    return value;
}

/// One multishot receive on a socket pair tells whether the kernel takes it.
bool probe_multishot_recv(Ring& ring, BufRing& buffers) {
    std::array<int, 2> pair{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair.data()) != 0) return false;
    const Fd reader(pair[0]);
    Fd writer(pair[1]);
    io_uring_sqe* sqe = io_uring_get_sqe(&ring.raw);
    io_uring_prep_recv_multishot(sqe, reader.get(), nullptr, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = BufRing::kGroup;
    writer.reset(); // the end of the stream ends the operation, whatever happens
    io_uring_cqe* cqe = nullptr;
    if (io_uring_submit_and_wait(&ring.raw, 1) < 0) return false;
    if (io_uring_peek_cqe(&ring.raw, &cqe) != 0) return false;
    const bool taken = cqe->res >= 0;
    if ((cqe->flags & IORING_CQE_F_BUFFER) != 0) {
        buffers.take(static_cast<std::uint16_t>(cqe->flags >> IORING_CQE_BUFFER_SHIFT), 0).reset();
    }
    io_uring_cqe_seen(&ring.raw, cqe);
    return taken;
}

} // namespace

Error explain_uring_failure(int sys_errno, std::optional<int> disabled) {
    if (sys_errno == ENOSYS) {
        return Error(
            Code::machine_lacks,
            "io_uring is not available: the kernel is older than 5.19 or built without it, or a "
            "sandbox hides it; use a newer kernel or allow the io_uring system calls",
            sys_errno);
    }
    if ((sys_errno == EPERM || sys_errno == EACCES) && disabled.value_or(0) != 0) {
        return Error(Code::machine_lacks,
                     fmt::format("io_uring is switched off: kernel.io_uring_disabled is {}; "
                                 "run: sysctl kernel.io_uring_disabled=0",
                                 *disabled),
                     sys_errno);
    }
    if (sys_errno == EPERM || sys_errno == EACCES) {
        return Error(
            Code::machine_lacks,
            "io_uring is forbidden, probably by the container's seccomp profile; allow "
            "io_uring_setup, io_uring_enter and io_uring_register there (docker: --security-opt "
            "seccomp=...)",
            sys_errno);
    }
    if (sys_errno == ENOMEM) {
        return Error(Code::machine_lacks,
                     "io_uring: no memory for a ring; raise the locked-memory limit (ulimit -l) or "
                     "free memory",
                     sys_errno);
    }
    if (sys_errno == EMFILE || sys_errno == ENFILE) {
        return Error(
            Code::machine_lacks,
            "io_uring: too many open files; raise the limit (ulimit -n) or use fewer shards",
            sys_errno);
    }
    return Error(
        Code::machine_lacks,
        fmt::format("io_uring: {}", Error::from_errno(sys_errno, "io_uring_setup").message()),
        sys_errno);
}

Result<UringLevel> Ring::open(const UringOptions& options) {
    int error = EINVAL;
    for (std::size_t level = static_cast<std::size_t>(options.level); level < kLevelFlags.size();
         ++level) {
        io_uring_params params{};
        params.flags =
            kLevelFlags[level] | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
        params.cq_entries = options.cq_entries;
        const int rc = io_uring_queue_init_params(options.sq_entries, &raw, &params);
        if (rc == 0) {
            open_ = true;
            return static_cast<UringLevel>(level);
        }
        error = -rc;
        if (error != EINVAL) break; // only an unknown flag is a reason to ask for less
    }
    return explain_uring_failure(error, read_disabled_sysctl());
}

Result<> Ring::enable() {
    // liburing 2.3 declares io_uring_enable_rings and does not export it.
    const long rc =
        ::syscall(__NR_io_uring_register, raw.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    if (rc != 0) return explain_uring_failure(errno, std::nullopt);
    return {};
}

Result<UringFeatures> probe_uring(const UringOptions& options) {
    BufRing buffers;
    Ring ring; // closed before the buffers go
    BLOOM_TRY(const UringLevel level, ring.open(options));
    BLOOM_OK(buffers.setup(ring.raw, 8, 64));
    BLOOM_OK(ring.enable());
    const bool multishot = options.multishot_recv && probe_multishot_recv(ring, buffers);
    return UringFeatures{level, multishot};
}

std::string describe(const UringFeatures& features) {
    std::string text = "io_uring: ";
    switch (features.level) {
    case UringLevel::defer_taskrun:
        text += "single issuer, deferred task work";
        break;
    case UringLevel::coop_taskrun:
        text += "single issuer, cooperative task work (kernel before 6.1)";
        break;
    case UringLevel::plain:
        text += "plain ring (kernel before 6.0)";
        break;
    }
    text += features.multishot_recv ? ", multishot receive"
                                    : ", receive one at a time (kernel before 6.0)";
    return text;
}

} // namespace bloom::rt
