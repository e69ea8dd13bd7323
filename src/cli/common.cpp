#include "cli/common.hpp"

#include <array>
#include <cstdio>

#include <fmt/format.h>

namespace bloom::cli {

int report(const Error& error) {
    std::fprintf(stderr, "error: %s\n", std::string(error.message()).c_str());
    switch (error.code()) {
    case Code::invalid_argument:
        return 2;
    case Code::machine_lacks:
        return 3;
    default:
        return 1;
    }
}

void print(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fflush(stdout);
}

std::string data_dir_of(const Settings& settings) {
    const std::string& named = settings.text("serve.data_dir");
    return named.empty() ? default_data_dir() : named;
}

std::string human_bytes(double bytes) {
    static constexpr std::array kUnits{"B", "kB", "MB", "GB", "TB"};
    std::size_t unit = 0;
    while (bytes >= 1000 && unit + 1 < kUnits.size()) {
        bytes /= 1000;
        ++unit;
    }
    return unit == 0 ? fmt::format("{:.0f} B", bytes)
                     : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

} // namespace bloom::cli
