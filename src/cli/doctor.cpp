#include <array>
#include <cstdlib>
#include <filesystem>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <thread>

#include <fmt/format.h>

#include <bloom/attest/identity_key.hpp>
#include <bloom/cli/verbs.hpp>
#include <bloom/hw/memory_info.hpp>
#include <bloom/json/writer.hpp>
#include <bloom/net/address.hpp>
#include <bloom/net/port.hpp>
#include <bloom/provider/kernel_choice.hpp>
#include <bloom/rt/uring_driver.hpp>

#include "cli/common.hpp"

namespace bloom::cli {
namespace {

/// One line of the report. `lacking` means that serving is not possible (exit code 3).
struct Check {
    enum class State : std::uint8_t { fine, advice, lacking };

    std::string name;
    State state = State::fine;
    std::string found;
    std::string fix; ///< empty where nothing has to be done
};

std::string_view to_string(Check::State state) {
    switch (state) {
    case Check::State::fine:
        return "ok";
    case Check::State::advice:
        return "advice";
    case Check::State::lacking:
        return "lacking";
    }
    return "";
}

Check check_ring() {
    const auto features = rt::probe_uring({});
    if (features) return {"io_uring", Check::State::fine, rt::describe(*features), {}};
    return {"io_uring", Check::State::lacking, "not usable",
            std::string(features.error().message())};
}

Check check_kernel() {
    utsname name{};
    ::uname(&name);
    return {"kernel", Check::State::fine, fmt::format("{} {}", name.sysname, name.release), {}};
}

Check check_kernels() {
    const auto table = provider::choose_kernels();
    if (!table)
        return {"processor", Check::State::lacking, "forced kernels cannot run",
                std::string(table.error().message())};
    Check check{"processor", Check::State::fine, fmt::format("kernels {}", (*table)->isa), {}};
    if (std::string_view((*table)->isa) == "scalar") {
        check.state = Check::State::advice;
        check.fix =
            "this processor has neither AVX2 nor AVX-512 VNNI: expect a few tokens per second";
    }
    return check;
}

/// What models are measured against before they are loaded: a container's limit counts.
Check check_memory() {
    constexpr double kSmall = 2e9;
    const hw::MemoryInfo info = hw::read_memory_info();
    const auto usable = static_cast<double>(info.usable_bytes());
    Check check{"memory",
                Check::State::fine,
                fmt::format("{} in all, {} can be used{}, {} processors",
                            human_bytes(static_cast<double>(info.total_bytes)), human_bytes(usable),
                            info.limit_bytes == 0
                                ? std::string()
                                : fmt::format(" (limit {})",
                                              human_bytes(static_cast<double>(info.limit_bytes))),
                            std::thread::hardware_concurrency()),
                {}};
    if (info.usable_bytes() != 0 && usable < kSmall) {
        check.state = Check::State::advice;
        check.fix = "only the built-in model will fit";
    }
    return check;
}

/// Weights, caches and intermediate values ask for huge pages; whether they get them is up to the
/// system.
Check check_huge_pages() {
    switch (hw::read_memory_info().transparent_huge_pages) {
    case hw::HugePages::by_advice:
    case hw::HugePages::always:
        return {"huge pages", Check::State::fine, "weights get them", {}};
    case hw::HugePages::never:
        return {"huge pages", Check::State::advice, "switched off",
                "models run up to 1.6 times faster with them: echo madvise > "
                "/sys/kernel/mm/transparent_hugepage/enabled"};
    case hw::HugePages::unknown:
        break;
    }
    return {"huge pages", Check::State::fine, "the system does not say", {}};
}

Check check_descriptors() {
    constexpr rlim_t kWanted = 16'384;
    rlimit limit{};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    Check check{"open files",
                Check::State::fine,
                fmt::format("{} (at most {})", limit.rlim_cur, limit.rlim_max),
                {}};
    if (limit.rlim_cur < kWanted && limit.rlim_max < kWanted) {
        check.state = Check::State::advice;
        check.fix = fmt::format(
            "each connection takes one; raise the hard limit to {} (ulimit -Hn, LimitNOFILE)",
            kWanted);
    }
    return check;
}

Check check_data_dir(const std::string& folder) {
    std::error_code failure;
    std::filesystem::path nearest(folder);
    while (!nearest.empty() && !std::filesystem::exists(nearest, failure) &&
           nearest != nearest.parent_path()) {
        nearest = nearest.parent_path();
    }
    if (nearest.empty()) nearest = ".";
    if (::access(nearest.c_str(), W_OK) != 0) {
        return {
            "data directory", Check::State::lacking, folder,
            fmt::format("{} is not writable; choose another with --data-dir", nearest.string())};
    }
    return {"data directory", Check::State::fine, folder, {}};
}

/// Only a key that is there: the first start makes one.
Check check_identity(const std::string& folder) {
    std::error_code failure;
    if (!std::filesystem::exists(folder + "/" + std::string(attest::kKeyFile), failure))
        return {"identity", Check::State::fine, "none yet; the first start makes a key", {}};
    const auto key = attest::IdentityKey::open(folder);
    if (key) return {"identity", Check::State::fine, "node " + key->node_id(), {}};
    return {"identity", Check::State::lacking, "the key cannot be used",
            std::string(key.error().message())};
}

Check check_listen(const std::string& text) {
    const auto address = net::Address::parse(text);
    if (!address)
        return {"address", Check::State::lacking, text, std::string(address.error().message())};
    if (net::check_port_free(*address)) {
        return {"address", Check::State::fine, text + " is free", {}};
    }
    return {"address", Check::State::advice, text + " is taken",
            "a node may be running there already; otherwise choose another with --listen"};
}

std::string as_json(const std::vector<Check>& checks, bool ready) {
    std::string out;
    json::Writer w(out);
    w.begin_object().key("ready").boolean(ready).key("checks").begin_array();
    for (const Check& check : checks) {
        w.begin_object().key("name").string(check.name).key("state").string(to_string(check.state));
        w.key("found").string(check.found).key("fix");
        if (check.fix.empty()) {
            w.null();
        } else {
            w.string(check.fix);
        }
        w.end_object();
    }
    w.end_array().end_object();
    out += '\n';
    return out;
}

std::string as_table(const std::vector<Check>& checks, bool ready) {
    std::string out;
    for (const Check& check : checks) {
        out += fmt::format("{:8} {:15} {}\n", to_string(check.state), check.name, check.found);
        if (!check.fix.empty()) out += fmt::format("{:24} -> {}\n", "", check.fix);
    }
    out += ready ? "\nThis machine can serve.\n"
                 : "\nThis machine cannot serve until what is lacking is there.\n";
    return out;
}

} // namespace

int run_doctor(const Arguments& arguments) {
    const Result<Settings> settings = Settings::load({}, arguments.flags);
    if (!settings) return report(settings.error());
    const std::vector<Check> checks{check_kernel(),
                                    check_ring(),
                                    check_kernels(),
                                    check_memory(),
                                    check_huge_pages(),
                                    check_descriptors(),
                                    check_data_dir(data_dir_of(*settings)),
                                    check_identity(data_dir_of(*settings)),
                                    check_listen(settings->text("serve.listen"))};
    bool ready = true;
    for (const Check& check : checks)
        ready &= check.state != Check::State::lacking;
    print(arguments.json ? as_json(checks, ready) : as_table(checks, ready));
    return ready ? 0 : 3;
}

} // namespace bloom::cli
