#include "node/posture.hpp"

#include <fstream>
#include <optional>
#include <string_view>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bloom/json/writer.hpp>

namespace bloom::node {
namespace {

std::optional<bool> no_core_files() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_CORE, &limit) != 0) return std::nullopt;
    return limit.rlim_cur == 0;
}

/// Value of a line `Name:\tvalue` of /proc/self/status.
std::optional<std::string> status_line(std::string_view name) {
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);) {
        if (!line.starts_with(name) || line.size() <= name.size() || line[name.size()] != ':')
            continue;
        const std::size_t at = line.find_first_not_of(" \t", name.size() + 1);
        return at == std::string::npos ? std::string() : line.substr(at);
    }
    return std::nullopt;
}

std::optional<bool> status_equals(std::string_view name, std::string_view expected) {
    const auto value = status_line(name);
    if (!value) return std::nullopt;
    return *value == expected;
}

std::optional<bool> swap_off() {
    std::ifstream swaps("/proc/swaps");
    std::string line;
    if (!std::getline(swaps, line)) return std::nullopt; // the header
    return !std::getline(swaps, line);
}

void put(json::Writer& w, std::string_view name, std::optional<bool> value) {
    w.key(name).begin_object().key("evidence").string("self").key("value");
    if (value) {
        w.boolean(*value);
    } else {
        w.null();
    }
    w.end_object();
}

} // namespace

std::string read_posture() {
    const int dumpable = ::prctl(PR_GET_DUMPABLE);
    const int no_new_privileges = ::prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
    std::string out;
    json::Writer w(out);
    w.begin_object(); // in the order of the names
    put(w, "core_limit_zero", no_core_files());
    put(w, "debugger_absent", status_equals("TracerPid", "0"));
    put(w, "dumpable_off", dumpable < 0 ? std::nullopt : std::optional(dumpable == 0));
    put(w, "no_new_privs",
        no_new_privileges < 0 ? std::nullopt : std::optional(no_new_privileges == 1));
    put(w, "seccomp_active", status_equals("Seccomp", "2"));
    put(w, "swap_off", swap_off());
    put(w, "uid_nonroot", ::geteuid() != 0);
    w.end_object();
    return out;
}

} // namespace bloom::node
