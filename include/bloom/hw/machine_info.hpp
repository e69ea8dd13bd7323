#pragma once

#include <filesystem>
#include <string>

namespace bloom::hw {

/// What the machine's maker wrote into its firmware tables (SMBIOS); empty where the system does
/// not tell or the maker left a filler. Lifetime: plain data.
struct MachineInfo {
    std::string vendor;
    std::string product;
    /// Of the chassis, else of the system, else of the board; only root reads it.
    std::string serial;
};

/// Reads /sys/class/dmi/id. Never fails. Thread: any.
MachineInfo read_machine_info();

/// The same from a directory laid out like the root of a file system.
MachineInfo read_machine_info(const std::filesystem::path& root);

} // namespace bloom::hw
