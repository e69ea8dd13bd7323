#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <unistd.h>

#include <bloom/fit/machine.hpp>

namespace bloom::fit {
namespace {

constexpr std::uint64_t kFreshNs = 1'000'000'000;

double gib(std::uint64_t bytes) noexcept {
    return static_cast<double>(bytes) / kGiB;
}

bool is_blank(const char* text) noexcept {
    return text == nullptr ||
           std::string_view(text).find_first_not_of(" \t") == std::string_view::npos;
}

} // namespace

SystemFacts system_facts(const hw::CpuInfo& cpu, const hw::MemoryInfo& memory) {
    SystemFacts out;
    const std::uint64_t total = memory.limit_bytes != 0
                                    ? std::min(memory.total_bytes, memory.limit_bytes)
                                    : memory.total_bytes;
    out.total_ram_gb = gib(total);
    out.available_ram_gb = gib(std::min(memory.usable_bytes(), total));
    const auto usable = static_cast<double>(cpu.usable.size());
    const double quota = cpu.quota_cpus > 0 ? std::ceil(cpu.quota_cpus) : usable;
    out.n_cpus = static_cast<std::int32_t>(std::max(1.0, std::min(usable, quota)));
    out.cpu_name = cpu.model.empty() ? "Unknown CPU" : cpu.model;
#if defined(__aarch64__)
    out.arm = true;
#endif
    return out;
}

std::string node_name() {
    constexpr std::size_t kLongest = 256;
    std::array<char, kLongest> name{};
    if (::gethostname(name.data(), name.size() - 1) == 0 && !is_blank(name.data()))
        return name.data();
    const char* given = std::getenv("HOSTNAME");
    return is_blank(given) ? "unknown-node" : given;
}

Machine::Machine() : node_{node_name()}, cpu_(hw::read_cpu_info()) {}

SystemFacts Machine::facts(std::uint64_t now_ns) const {
    const std::lock_guard lock(mutex_);
    if (read_ns_ == 0 || now_ns - read_ns_ >= kFreshNs) {
        memory_ = hw::read_memory_info();
        read_ns_ = std::max<std::uint64_t>(now_ns, 1);
    }
    return system_facts(cpu_, memory_);
}

} // namespace bloom::fit
