#include <gtest/gtest.h>

#include <bloom/hw/machine_info.hpp>

#include "support/temp_dir.hpp"

namespace bloom::hw {
namespace {

TEST(MachineInfo, ReadsTheFirmwareTables) {
    const test::TempDir root;
    root.write("sys/class/dmi/id/sys_vendor", "Maker Inc.\n");
    root.write("sys/class/dmi/id/product_name", "Box 9000\n");
    root.write("sys/class/dmi/id/product_serial", "SYS-1\n");
    EXPECT_EQ(read_machine_info(root.path()).serial, "SYS-1");
    root.write("sys/class/dmi/id/chassis_serial", " CH-77 \n");
    const MachineInfo info = read_machine_info(root.path());
    EXPECT_EQ(info.vendor, "Maker Inc.");
    EXPECT_EQ(info.product, "Box 9000");
    EXPECT_EQ(info.serial, "CH-77");
}

TEST(MachineInfo, FillersAreNothing) {
    const test::TempDir root;
    for (const char* filler : {"To Be Filled By O.E.M.\n", "None\n", "0\n", "00000000\n", "\n",
                               "Default string\n", "x\x01y\n", "\xc3\xa4\n"}) {
        root.write("sys/class/dmi/id/chassis_serial", filler);
        root.write("sys/class/dmi/id/board_serial", "B-1\n");
        EXPECT_EQ(read_machine_info(root.path()).serial, "B-1") << filler;
    }
    const test::TempDir empty;
    EXPECT_EQ(read_machine_info(empty.path()).serial, "");
    EXPECT_EQ(read_machine_info(empty.path()).vendor, "");
}

} // namespace
} // namespace bloom::hw
