#include <algorithm>

#include <bloom/base/text.hpp>
#include <bloom/hw/machine_info.hpp>

#include "hw/files.hpp"

namespace bloom::hw {
namespace {

/// What boards say that nobody named.
constexpr std::string_view kFillers[] = {"none",
                                         "n/a",
                                         "0",
                                         "unknown",
                                         "not specified",
                                         "not applicable",
                                         "default string",
                                         "invalid",
                                         "to be filled by o.e.m.",
                                         "system serial number",
                                         "chassis serial number",
                                         "system product name"};

std::string field(const std::filesystem::path& folder, const char* name) {
    const std::string text = read_small_file(folder / name).value_or("");
    const std::string_view value = trimmed(text);
    const bool filler =
        std::ranges::any_of(kFillers, [&](std::string_view f) { return iequals(f, value); }) ||
        value.find_first_not_of("0.-x ") == std::string_view::npos;
    const bool printable = std::ranges::all_of(value, [](char c) { return c >= 0x20 && c < 0x7f; });
    return filler || !printable ? std::string() : std::string(value);
}

} // namespace

MachineInfo read_machine_info() {
    return read_machine_info("/");
}

MachineInfo read_machine_info(const std::filesystem::path& root) {
    const std::filesystem::path folder = root / "sys/class/dmi/id";
    MachineInfo out{field(folder, "sys_vendor"), field(folder, "product_name"), {}};
    for (const char* name : {"chassis_serial", "product_serial", "board_serial"}) {
        out.serial = field(folder, name);
        if (!out.serial.empty()) break;
    }
    return out;
}

} // namespace bloom::hw
