#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/gguf.hpp>

#include "support/gguf_writer.hpp"
#include "support/temp_dir.hpp"
#include "support/test_data.hpp"

namespace bloom::engine {
namespace {

using test::GgufWriter;

/// Two tensors, one key of each kind: small enough to try every byte.
GgufWriter small_file() {
    GgufWriter w;
    w.put_string("general.architecture", "llama");
    w.put_u32("number", 7);
    w.put_f32("real", 0.5F);
    w.put_bool("flag", true);
    w.put_array<std::int32_t>("list", GgufWriter::kI32, {1, -2, 3});
    w.put_strings("words", {"a", "", "ccc"});
    w.add_f32("first", {3}, {1.0F, 2.0F, 3.0F});
    w.add("second", {32, 2}, GgufWriter::kTensorQ8_0, std::vector<std::uint8_t>(68, 1));
    return w;
}

Result<GgufFile> parse(const std::vector<std::uint8_t>& image) {
    return GgufFile::from_memory(image, "image");
}

TEST(Gguf, ReadsMetadataAndTensors) {
    const std::vector<std::uint8_t> image = small_file().build();
    const auto file = parse(image);
    ASSERT_TRUE(file) << file.error().message();
    EXPECT_EQ(file->version(), 3U);
    const GgufMetadata& m = file->metadata();
    EXPECT_EQ(m.entries().size(), 6U);
    EXPECT_EQ(m.text("general.architecture").value(), "llama");
    EXPECT_EQ(m.integer("number", 0, 10).value(), 7);
    EXPECT_EQ(m.real("real").value(), 0.5);
    EXPECT_TRUE(m.boolean_or("flag", false).value());
    const GgufArray* list = m.array("list", GgufType::i32).value();
    ASSERT_EQ(list->size(), 3U);
    EXPECT_EQ(list->integer_at(1).value(), -2);
    const GgufArray* words = m.array("words", GgufType::string).value();
    ASSERT_EQ(words->size(), 3U);
    EXPECT_EQ(words->string_at(0), "a");
    EXPECT_EQ(words->string_at(1), "");
    EXPECT_EQ(words->string_at(2), "ccc");

    ASSERT_EQ(file->tensors().size(), 2U);
    const TensorInfo* second = file->find_tensor("second");
    ASSERT_NE(second, nullptr);
    EXPECT_EQ(second->type, StorageType::q8_0);
    ASSERT_EQ(second->n_dims, 2);
    EXPECT_EQ(second->dims[0], 2); // rows come first here, last in the file
    EXPECT_EQ(second->dims[1], 32);
    EXPECT_EQ(second->bytes, 68U);
    EXPECT_EQ(second->data[0], 1);
    EXPECT_EQ(load_le<float>(file->find_tensor("first")->data + 4), 2.0F);
    EXPECT_EQ(file->find_tensor("third"), nullptr);
}

TEST(Gguf, ShowsValuesOfEveryKind) {
    GgufWriter w = small_file();
    w.put_array<std::uint8_t>("flags", GgufWriter::kBool, {1, 0});
    const std::vector<std::uint8_t> image = w.build();
    const auto file = parse(image).value();
    const auto shown = [&](std::string_view key) { return file.metadata().find(key)->describe(); };
    EXPECT_EQ(shown("number"), "7");
    EXPECT_EQ(shown("real"), "0.5");
    EXPECT_EQ(shown("flag"), "true");
    EXPECT_EQ(shown("flags"), "[true, false]");
    EXPECT_EQ(shown("list"), "[1, -2, 3]");
    EXPECT_EQ(shown("words"), R"(["a", "", "ccc"])");
}

TEST(Gguf, AcceptsVersion2AndOtherAlignments) {
    GgufWriter w = small_file();
    w.version = 2;
    w.alignment = 64;
    w.put_u32("general.alignment", 64);
    const auto image = w.build();
    const auto file = parse(image);
    ASSERT_TRUE(file) << file.error().message();
    EXPECT_EQ(file->version(), 2U);
    EXPECT_EQ(file->find_tensor("second")->data[67], 1);
}

TEST(Gguf, TypedAccessRefusesOtherTypes) {
    const auto image = small_file().build();
    const auto file = parse(image).value();
    const GgufMetadata& m = file.metadata();
    EXPECT_EQ(m.integer("absent", 0, 1).error().code(), Code::not_found);
    EXPECT_EQ(m.integer("real", 0, 1).error().code(), Code::invalid_argument);
    EXPECT_EQ(m.integer("flag", 0, 1).error().code(), Code::invalid_argument);
    EXPECT_EQ(m.integer("number", 0, 6).error().code(), Code::too_large);
    EXPECT_EQ(m.real("number").error().code(), Code::invalid_argument);
    EXPECT_EQ(m.boolean_or("number", false).error().code(), Code::invalid_argument);
    EXPECT_EQ(m.text("number").error().code(), Code::invalid_argument);
    EXPECT_EQ(m.array("list", GgufType::u32).error().code(), Code::invalid_argument);
    EXPECT_EQ(m.array("number", GgufType::i32).error().code(), Code::invalid_argument);
    EXPECT_NE(m.integer("real", 0, 1).error().message().find("\"real\""), std::string::npos);
    EXPECT_EQ(m.integer_or("absent", 5, 0, 1).value(), 5);
    EXPECT_FALSE(m.array("words", GgufType::string).value()->integer_at(0));
}

TEST(Gguf, IntegersAreReadFromEveryIntegerType) {
    GgufWriter w;
    w.put<std::uint8_t>("u8", GgufWriter::kU8, 200);
    w.put<std::int8_t>("i8", GgufWriter::kI8, -3);
    w.put<std::uint16_t>("u16", GgufWriter::kU16, 65535);
    w.put<std::int16_t>("i16", GgufWriter::kI16, -300);
    w.put<std::int32_t>("i32", GgufWriter::kI32, -70000);
    w.put<std::uint64_t>("u64", GgufWriter::kU64, 1ULL << 40);
    w.put<std::int64_t>("i64", GgufWriter::kI64, -(1LL << 40));
    w.put<std::uint64_t>("huge", GgufWriter::kU64, ~0ULL);
    w.put<double>("f64", GgufWriter::kF64, 0.25);
    const auto image = w.build();
    const auto file = parse(image).value();
    constexpr std::int64_t kMin = std::numeric_limits<std::int64_t>::min();
    constexpr std::int64_t kMax = std::numeric_limits<std::int64_t>::max();
    const GgufMetadata& m = file.metadata();
    EXPECT_EQ(m.integer("u8", kMin, kMax).value(), 200);
    EXPECT_EQ(m.integer("i8", kMin, kMax).value(), -3);
    EXPECT_EQ(m.integer("u16", kMin, kMax).value(), 65535);
    EXPECT_EQ(m.integer("i16", kMin, kMax).value(), -300);
    EXPECT_EQ(m.integer("i32", kMin, kMax).value(), -70000);
    EXPECT_EQ(m.integer("u64", kMin, kMax).value(), 1LL << 40);
    EXPECT_EQ(m.integer("i64", kMin, kMax).value(), -(1LL << 40));
    EXPECT_EQ(m.integer("huge", kMin, kMax).error().code(), Code::too_large);
    EXPECT_EQ(m.real("f64").value(), 0.25);
}

/// One way to break a file and what the reader has to say about it.
struct Rule {
    const char* name;
    std::function<std::vector<std::uint8_t>()> image;
    Code code;
    const char* says;
};

template <class Change>
std::function<std::vector<std::uint8_t>()> with(Change change) {
    return [change] {
        GgufWriter w = small_file();
        change(w);
        return w.build();
    };
}

std::vector<std::uint8_t> raw_array(std::uint32_t element, std::uint64_t count,
                                    std::size_t n_bytes) {
    std::vector<std::uint8_t> bytes;
    GgufWriter::append(bytes, element);
    GgufWriter::append(bytes, count);
    bytes.resize(bytes.size() + n_bytes);
    return bytes;
}

std::vector<std::uint8_t> raw_length(std::uint64_t length) {
    std::vector<std::uint8_t> bytes;
    GgufWriter::append(bytes, length);
    return bytes;
}

const std::vector<Rule>& rules() {
    static const std::vector<Rule> all = {
        {"magic", with([](auto& w) { w.magic = "GGML"; }), Code::corrupt, "does not start"},
        {"version 1", with([](auto& w) { w.version = 1; }), Code::unsupported, "version 1"},
        {"version 4", with([](auto& w) { w.version = 4; }), Code::unsupported, "version 4"},
        {"big endian", with([](auto& w) { w.version = 3U << 24; }), Code::unsupported,
         "big-endian"},
        {"tensor count", with([](auto& w) { w.tensor_count = 1ULL << 60; }), Code::corrupt,
         "tensors do not fit"},
        {"key count", with([](auto& w) { w.key_count = ~0ULL; }), Code::corrupt, "keys do not fit"},
        {"key cap",
         [] {
             GgufWriter w;
             w.key_count = kGgufMaxKeys + 1;
             auto image = w.build();
             image.resize(image.size() + 13 * (kGgufMaxKeys + 1));
             return image;
         },
         Code::too_large, "limit is 100000"},
        {"tensor cap",
         [] {
             GgufWriter w;
             w.tensor_count = kGgufMaxTensors + 1;
             auto image = w.build();
             image.resize(image.size() + 24 * (kGgufMaxTensors + 1));
             return image;
         },
         Code::too_large, "limit is 1000000"},
        {"key too long", with([](auto& w) { w.put_u32(std::string(65'536, 'k'), 1); }),
         Code::too_large, "65536 bytes"},
        {"key not utf-8", with([](auto& w) { w.put_u32("\xff", 1); }), Code::corrupt, "not UTF-8"},
        {"string length",
         with([](auto& w) { w.put_raw("s", GgufWriter::kString, raw_length(~0ULL)); }),
         Code::corrupt, "\"s\" has a length"},
        {"string cap", with([](auto& w) { w.put_string("s", std::string((16U << 20) + 1, 'x')); }),
         Code::too_large, "\"s\" has 16777217"},
        {"value type", with([](auto& w) { w.put_raw("odd", 13, {}); }), Code::corrupt,
         "\"odd\" has the unknown type 13"},
        {"array type",
         with([](auto& w) { w.put_raw("odd", GgufWriter::kArray, raw_array(99, 0, 0)); }),
         Code::corrupt, "unknown type 99"},
        {"nested array",
         with([](auto& w) { w.put_raw("odd", GgufWriter::kArray, raw_array(9, 1, 16)); }),
         Code::corrupt, "contains arrays"},
        {"array count",
         with([](auto& w) { w.put_raw("odd", GgufWriter::kArray, raw_array(4, 1ULL << 61, 8)); }),
         Code::corrupt, "do not fit"},
        {"string array count",
         with([](auto& w) { w.put_raw("odd", GgufWriter::kArray, raw_array(8, 1ULL << 40, 8)); }),
         Code::corrupt, "do not fit"},
        {"string in array", with([](auto& w) {
             auto bytes = raw_array(8, 1, 0);
             GgufWriter::append<std::uint64_t>(bytes, 1ULL << 50);
             w.put_raw("odd", GgufWriter::kArray, bytes);
         }),
         Code::corrupt, "element 0"},
        {"bool byte", with([](auto& w) { w.put("odd", GgufWriter::kBool, std::uint8_t{2}); }),
         Code::corrupt, "\"odd\" has the bool byte 2"},
        {"bool array", with([](auto& w) {
             w.template put_array<std::uint8_t>("odd", GgufWriter::kBool, {1, 7});
         }),
         Code::corrupt, "bool byte above 1"},
        {"duplicate key", with([](auto& w) { w.put_u32("number", 8); }), Code::corrupt,
         "\"number\" stands twice"},
        {"alignment type",
         with([](auto& w) { w.put("general.alignment", GgufWriter::kU64, std::uint64_t{32}); }),
         Code::corrupt, "type u64, not u32"},
        {"alignment 0", with([](auto& w) { w.put_u32("general.alignment", 0); }), Code::corrupt,
         "alignment is 0"},
        {"alignment 4", with([](auto& w) { w.put_u32("general.alignment", 4); }), Code::corrupt,
         "alignment is 4"},
        {"alignment 48", with([](auto& w) { w.put_u32("general.alignment", 48); }), Code::corrupt,
         "alignment is 48"},
        {"alignment 2^17", with([](auto& w) { w.put_u32("general.alignment", 1U << 17); }),
         Code::corrupt, "alignment is 131072"},
        {"tensor name empty", with([](auto& w) { w.tensors[0].name = ""; }), Code::corrupt,
         "empty name"},
        {"tensor name long", with([](auto& w) { w.tensors[0].name = std::string(64, 'n'); }),
         Code::too_large, "limit is 63"},
        {"tensor name utf-8", with([](auto& w) { w.tensors[0].name = "\xc3"; }), Code::corrupt,
         "not UTF-8"},
        {"duplicate tensor", with([](auto& w) { w.tensors[1].name = "first"; }), Code::corrupt,
         "\"first\" stands twice"},
        {"rank 0", with([](auto& w) { w.tensors[0].ne = {}; }), Code::corrupt, "0 dimensions"},
        {"rank 5", with([](auto& w) { w.tensors[0].ne = {3, 1, 1, 1, 1}; }), Code::corrupt,
         "5 dimensions"},
        {"dim 0", with([](auto& w) { w.tensors[0].ne = {0}; }), Code::corrupt,
         "dimension 0 of tensor \"first\" is 0"},
        {"dim 2^63", with([](auto& w) { w.tensors[0].ne = {1ULL << 63}; }), Code::corrupt,
         "dimension 0"},
        {"product", with([](auto& w) { w.tensors[0].ne = {1ULL << 32, 1ULL << 32}; }),
         Code::corrupt, "more than 2^63"},
        {"product 2^63", with([](auto& w) { w.tensors[0].ne = {1ULL << 32, 1ULL << 31}; }),
         Code::corrupt, "more than 2^63"},
        {"bytes wrap", with([](auto& w) { w.tensors[0].ne = {1ULL << 62}; }), Code::corrupt,
         "larger than 2^64"},
        {"block", with([](auto& w) { w.tensors[1].ne = {48, 2}; }), Code::corrupt,
         "not a multiple of the 32"},
        {"tensor type", with([](auto& w) { w.tensors[1].type = 12; }), Code::unsupported,
         "\"second\" has ggml type 12"},
        {"offset alignment", with([](auto& w) { w.tensors[1].offset = 40; }), Code::corrupt,
         "not a multiple of 32"},
        {"offset overlap", with([](auto& w) { w.tensors[1].offset = 0; }), Code::corrupt,
         "overlaps"},
        {"offset hole", with([](auto& w) {
             w.tensors[1].offset = 64;
             w.tensors[1].data.resize(128);
         }),
         Code::corrupt, "hole of 32"},
        {"offset wrap", with([](auto& w) { w.tensors[1].offset = ~0ULL - 31; }), Code::corrupt,
         "passes the end"},
        {"offset end", with([](auto& w) { w.tensors[1].offset = 1ULL << 40; }), Code::corrupt,
         "passes the end"},
        {"larger than the data", with([](auto& w) { w.tensors[1].ne = {32, 4}; }), Code::corrupt,
         "passes the end"},
    };
    return all;
}

TEST(Gguf, EveryValidationRuleFailsForItsOwnReason) {
    for (const Rule& rule : rules()) {
        const std::vector<std::uint8_t> image = rule.image();
        const auto file = parse(image);
        ASSERT_FALSE(file) << rule.name;
        EXPECT_EQ(file.error().code(), rule.code) << rule.name << ": " << file.error().message();
        EXPECT_NE(file.error().message().find(rule.says), std::string_view::npos)
            << rule.name << ": " << file.error().message();
    }
}

TEST(Gguf, EveryTruncationIsAnError) {
    const std::vector<std::uint8_t> image = small_file().build();
    const std::size_t used = image.size() - 28; // the last tensor's padding may be missing
    for (std::size_t n = 0; n < used; ++n) {
        const std::vector<std::uint8_t> cut(image.begin(),
                                            image.begin() + static_cast<std::ptrdiff_t>(n));
        EXPECT_FALSE(parse(cut)) << n;
    }
    const std::vector<std::uint8_t> unpadded(image.begin(),
                                             image.begin() + static_cast<std::ptrdiff_t>(used));
    EXPECT_TRUE(parse(unpadded));
}

// Each 8-byte window gets the values that overflow sums and products; no result may reach outside.
TEST(Gguf, MutatedFieldsNeverEscapeTheFile) {
    const std::vector<std::uint8_t> image = small_file().build();
    int accepted = 0;
    for (std::size_t at = 0; at + 8 <= image.size(); ++at) {
        for (const std::uint64_t value :
             {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}, std::uint64_t{1} << 63,
              (std::uint64_t{1} << 63) - 1, ~std::uint64_t{0} - 31}) {
            std::vector<std::uint8_t> changed = image;
            std::memcpy(changed.data() + at, &value, sizeof value);
            const auto file = parse(changed);
            if (!file) continue;
            ++accepted;
            for (const TensorInfo& tensor : file->tensors()) {
                ASSERT_GE(tensor.data, changed.data());
                ASSERT_LE(tensor.data + tensor.bytes, changed.data() + changed.size());
            }
        }
    }
    EXPECT_GT(accepted, 0); // tensor data and values may change freely
}

TEST(Gguf, ReadsTheSameFromAFile) {
    const test::TempDir dir;
    const auto path = dir.write("model.gguf", small_file().build());
    const auto file = GgufFile::open(path);
    ASSERT_TRUE(file) << file.error().message();
    EXPECT_EQ(load_le<float>(file->find_tensor("first")->data), 1.0F);
    const GgufFile moved = std::move(*GgufFile::open(path));
    EXPECT_EQ(moved.find_tensor("second")->data[1], 1);
}

TEST(Gguf, RefusesWhatIsNotAFile) {
    const test::TempDir dir;
    EXPECT_EQ(GgufFile::open(dir.path() / "absent.gguf").error().code(), Code::not_found);
    EXPECT_EQ(GgufFile::open(dir.path()).error().code(), Code::invalid_argument);
    EXPECT_EQ(GgufFile::open(dir.write("empty.gguf", std::string_view())).error().code(),
              Code::corrupt);
}

TEST(Gguf, NoticesThatAFileHasShrunk) {
    const test::TempDir dir;
    const auto path = dir.write("model.gguf", small_file().build());
    const auto file = GgufFile::open(path).value();
    EXPECT_TRUE(file.files()[0].check_unchanged());
    std::filesystem::resize_file(path, 100);
    const auto changed = file.files()[0].check_unchanged();
    ASSERT_FALSE(changed);
    EXPECT_EQ(changed.error().code(), Code::corrupt);
    std::uint8_t byte = 0;
    const auto read = file.files()[0].read_at(101, {&byte, 1});
    ASSERT_FALSE(read);
    EXPECT_NE(read.error().message().find("shorter"), std::string_view::npos);
}

// --- split sets
// ------------------------------------------------------------------------------------

GgufWriter part(std::uint16_t number, std::uint16_t count, std::int32_t total) {
    GgufWriter w;
    w.put("split.no", GgufWriter::kU16, number);
    w.put("split.count", GgufWriter::kU16, count);
    if (number == 0) {
        w.put("split.tensors.count", GgufWriter::kI32, total);
        w.put_string("general.architecture", "llama");
    }
    w.add_f32("t" + std::to_string(number), {2}, {static_cast<float>(number), 1.0F});
    return w;
}

std::filesystem::path write_part(const test::TempDir& dir, int number, const GgufWriter& w) {
    return dir.write("m-0000" + std::to_string(number) + "-of-00003.gguf", w.build());
}

TEST(GgufSplit, OpensAllParts) {
    const test::TempDir dir;
    const auto first = write_part(dir, 1, part(0, 3, 3));
    GgufWriter second = part(1, 3, 3);
    second.alignment = 64; // each part has its own
    second.put_u32("general.alignment", 64);
    write_part(dir, 2, second);
    write_part(dir, 3, part(2, 3, 3));
    const auto file = GgufFile::open(first);
    ASSERT_TRUE(file) << file.error().message();
    ASSERT_EQ(file->tensors().size(), 3U);
    for (std::uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(file->tensors()[i].file, i);
        EXPECT_EQ(load_le<float>(file->tensors()[i].data), static_cast<float>(i));
    }
}

struct SplitFault {
    const char* name;
    std::function<void(const test::TempDir&)> change;
    Code code;
    const char* says;
};

TEST(GgufSplit, EveryFaultIsNamed) {
    const std::vector<SplitFault> faults = {
        {"missing part",
         [](const auto& dir) { std::filesystem::remove(dir.path() / "m-00002-of-00003.gguf"); },
         Code::not_found, "m-00002-of-00003.gguf"},
        {"swapped parts", [](const auto& dir) { write_part(dir, 2, part(2, 3, 3)); }, Code::corrupt,
         "part 3"},
        {"duplicate tensor",
         [](const auto& dir) {
             GgufWriter w = part(1, 3, 3);
             w.tensors[0].name = "t0";
             write_part(dir, 2, w);
         },
         Code::corrupt, "\"t0\" is in an earlier part"},
        {"total", [](const auto& dir) { write_part(dir, 1, part(0, 3, 4)); }, Code::corrupt,
         "split.tensors.count is 4"},
        {"no total",
         [](const auto& dir) {
             GgufWriter w = part(0, 3, 3);
             w.remove("split.tensors.count");
             write_part(dir, 1, w);
         },
         Code::not_found, "split.tensors.count"},
        {"count", [](const auto& dir) { write_part(dir, 1, part(0, 4, 3)); }, Code::corrupt,
         "the name says 3"},
        {"count missing",
         [](const auto& dir) {
             GgufWriter w = part(0, 3, 3);
             w.remove("split.count");
             write_part(dir, 1, w);
         },
         Code::corrupt, "the name says 3"},
        {"count of a part", [](const auto& dir) { write_part(dir, 3, part(2, 9, 3)); },
         Code::corrupt, "has 9 parts"},
        {"first is not first", [](const auto& dir) { write_part(dir, 1, part(1, 3, 3)); },
         Code::invalid_argument, "not the first part"},
    };
    for (const SplitFault& fault : faults) {
        const test::TempDir dir;
        const auto first = write_part(dir, 1, part(0, 3, 3));
        write_part(dir, 2, part(1, 3, 3));
        write_part(dir, 3, part(2, 3, 3));
        fault.change(dir);
        const auto file = GgufFile::open(first);
        ASSERT_FALSE(file) << fault.name;
        EXPECT_EQ(file.error().code(), fault.code) << fault.name << ": " << file.error().message();
        EXPECT_NE(file.error().message().find(fault.says), std::string_view::npos)
            << fault.name << ": " << file.error().message();
    }
}

TEST(GgufSplit, HintsAtTheFirstPart) {
    const test::TempDir dir;
    write_part(dir, 1, part(0, 3, 3));
    const auto second = write_part(dir, 2, part(1, 3, 3));
    const auto file = GgufFile::open(second);
    ASSERT_FALSE(file);
    EXPECT_EQ(file.error().code(), Code::invalid_argument);
    EXPECT_NE(file.error().message().find("open \"m-00001-of-00003.gguf\""), std::string_view::npos)
        << file.error().message();
}

TEST(GgufSplit, RefusesARenamedOrEmbeddedFirstPart) {
    const test::TempDir dir;
    const auto image = part(0, 3, 3).build();
    EXPECT_EQ(GgufFile::open(dir.write("renamed.gguf", image)).error().code(), Code::corrupt);
    EXPECT_EQ(parse(image).error().code(), Code::unsupported);
}

// --- files of others
// -------------------------------------------------------------------------------

TEST(Gguf, OpensThePublishedVocabularies) {
    BLOOM_REQUIRE_DATA("tokenizers");
    int n_files = 0;
    for (const auto& entry : std::filesystem::directory_iterator(test::data_dir() / "tokenizers")) {
        if (entry.path().extension() != ".gguf") continue;
        const auto file = GgufFile::open(entry.path());
        ASSERT_TRUE(file) << file.error().message();
        const auto tokens = file->metadata().array("tokenizer.ggml.tokens", GgufType::string);
        ASSERT_TRUE(tokens) << tokens.error().message();
        EXPECT_GT((*tokens)->size(), 30'000U) << entry.path();
        ++n_files;
    }
    EXPECT_GE(n_files, 9);
}

} // namespace
} // namespace bloom::engine
