#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include <bloom/engine/safetensors.hpp>

#include "support/safetensors_writer.hpp"
#include "support/temp_dir.hpp"

namespace bloom::engine {
namespace {

using test::safetensors_image;
using test::SafetensorsWriter;

Result<SafetensorsModel> parse(const std::vector<std::uint8_t>& image) {
    return SafetensorsModel::from_memory(image, "image");
}

SafetensorsWriter small_file() {
    SafetensorsWriter w;
    w.metadata = R"({"format":"pt"})";
    w.add("b", "F32", {2, 1}, SafetensorsWriter::bytes<float>({1.5F, -2.0F}));
    w.add("a", "BF16", {3}, SafetensorsWriter::bytes<std::uint16_t>({0x3f80, 0x4000, 0x4040}));
    w.add("scalar", "U8", {}, "x");
    w.add("empty", "I64", {0, 5}, "");
    return w;
}

TEST(Safetensors, ReadsTensorsAndMetadata) {
    const auto image = small_file().build();
    const auto model = parse(image);
    ASSERT_TRUE(model) << model.error().message();
    ASSERT_EQ(model->tensors().size(), 4U);
    ASSERT_EQ(model->metadata().size(), 1U);
    EXPECT_EQ(model->metadata()[0].second, "pt");
    const TensorInfo* b = model->find_tensor("b");
    ASSERT_NE(b, nullptr);
    EXPECT_EQ(b->type, StorageType::f32);
    ASSERT_EQ(b->n_dims, 2);
    EXPECT_EQ(b->dims[0], 2);
    EXPECT_EQ(load_le<float>(b->data + 4), -2.0F);
    const TensorInfo* scalar = model->find_tensor("scalar");
    EXPECT_EQ(scalar->n_dims, 0);
    EXPECT_EQ(scalar->bytes, 1U);
    EXPECT_EQ(*scalar->data, 'x');
    EXPECT_EQ(model->find_tensor("empty")->bytes, 0U);
}

TEST(Safetensors, DataMayLieAtAnyAddress) {
    for (std::size_t n_spaces = 0; n_spaces < 8; ++n_spaces) {
        SafetensorsWriter w = small_file();
        w.n_spaces = n_spaces;
        const auto image = w.build();
        const auto model = parse(image);
        ASSERT_TRUE(model) << model.error().message();
        EXPECT_EQ(load_le<float>(model->find_tensor("b")->data), 1.5F) << n_spaces;
        EXPECT_EQ(load_le<std::uint16_t>(model->find_tensor("a")->data + 4), 0x4040) << n_spaces;
    }
}

std::vector<std::uint8_t> one(const std::string& entry, std::size_t n_data = 4) {
    return safetensors_image("{\"t\":" + entry + "}", std::string(n_data, 'd'));
}

struct Rule {
    const char* name;
    std::vector<std::uint8_t> image;
    Code code;
    const char* says;
};

std::vector<std::uint8_t> with_length(std::uint64_t length, std::size_t n_bytes) {
    std::vector<std::uint8_t> out(8 + n_bytes, ' ');
    std::memcpy(out.data(), &length, 8);
    return out;
}

std::vector<Rule> rules() {
    const std::string good = R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})";
    return {
        {"7 bytes", std::vector<std::uint8_t>(7), Code::corrupt, "7 bytes"},
        {"length 0", with_length(0, 10), Code::corrupt, "header is empty"},
        {"length past the end", with_length(11, 10), Code::corrupt, "ends after 10"},
        {"length cap", with_length(100'000'001, 10), Code::too_large, "limit is 100000000"},
        {"length wraps", with_length(~0ULL, 10), Code::too_large, "limit"},
        {"leading space", safetensors_image(" {}", ""), Code::corrupt, "does not start"},
        {"array", safetensors_image("[]", ""), Code::corrupt, "does not start"},
        {"trailing newline", safetensors_image("{}\n", ""), Code::corrupt, "does not end"},
        {"trailing zero", safetensors_image(std::string("{}\0", 3), ""), Code::corrupt,
         "does not end"},
        {"trailing comma", safetensors_image(R"({"t":1,})", ""), Code::corrupt, "header is wrong"},
        {"second value", safetensors_image("{} {}", ""), Code::corrupt, "header is wrong"},
        {"not utf-8", safetensors_image("{\"\xff\":1}", ""), Code::corrupt, "header is wrong"},
        {"depth", safetensors_image(R"({"a":[[[[[[[[1]]]]]]]]})", ""), Code::corrupt,
         "header is wrong"},
        {"duplicate tensor", safetensors_image("{\"t\":" + good + ",\"t\":" + good + "}", "dddd"),
         Code::corrupt, "twice"},
        {"duplicate tensor by escape",
         safetensors_image("{\"t\":" + good + ",\"\\u0074\":" + good + "}", "dddd"), Code::corrupt,
         "twice"},
        {"duplicate member",
         one(R"({"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]})"), Code::corrupt,
         "twice"},
        {"metadata value", safetensors_image(R"({"__metadata__":{"a":1}})", ""), Code::corrupt,
         "__metadata__ \"a\""},
        {"metadata kind", safetensors_image(R"({"__metadata__":[]})", ""), Code::corrupt,
         "__metadata__ is wrong"},
        {"empty name", safetensors_image("{\"\":" + good + "}", "dddd"), Code::corrupt,
         "empty name"},
        {"long name",
         safetensors_image("{\"" + std::string(1025, 'n') + "\":" + good + "}", "dddd"),
         Code::corrupt, "1024 bytes"},
        {"NUL in name", safetensors_image("{\"a\\u0000b\":" + good + "}", "dddd"), Code::corrupt,
         "NUL"},
        {"entry kind", one("5"), Code::corrupt, "its entry"},
        {"no dtype", one(R"({"shape":[1],"data_offsets":[0,4]})"), Code::corrupt, "needs dtype"},
        {"no shape", one(R"({"dtype":"F32","data_offsets":[0,4]})"), Code::corrupt, "needs dtype"},
        {"no offsets", one(R"({"dtype":"F32","shape":[1]})"), Code::corrupt, "needs dtype"},
        {"dtype kind", one(R"({"dtype":4,"shape":[1],"data_offsets":[0,4]})"), Code::corrupt,
         "dtype is wrong"},
        {"dtype unknown", one(R"({"dtype":"F31","shape":[1],"data_offsets":[0,4]})"),
         Code::unsupported, "dtype \"F31\""},
        {"rank 9", one(R"({"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]})"),
         Code::corrupt, "more than 8"},
        {"dim fraction", one(R"({"dtype":"F32","shape":[1.0],"data_offsets":[0,4]})"),
         Code::corrupt, "shape is wrong"},
        {"dim exponent", one(R"({"dtype":"F32","shape":[1e0],"data_offsets":[0,4]})"),
         Code::corrupt, "shape is wrong"},
        {"dim negative", one(R"({"dtype":"F32","shape":[-1],"data_offsets":[0,4]})"), Code::corrupt,
         "shape is wrong"},
        {"dim 2^53", one(R"({"dtype":"F32","shape":[9007199254740992],"data_offsets":[0,4]})"),
         Code::corrupt, "dimension of 9007199254740992"},
        {"elements wrap",
         one(R"({"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,4]})"),
         Code::corrupt, "more than 2^64 elements"},
        {"bytes wrap",
         one(R"({"dtype":"F64","shape":[4294967296,1073741824],"data_offsets":[0,4]})"),
         Code::corrupt, "larger than 2^64"},
        {"offsets kind", one(R"({"dtype":"F32","shape":[1],"data_offsets":4})"), Code::corrupt,
         "data_offsets is wrong"},
        {"three offsets", one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4,4]})"),
         Code::corrupt, "3 entries"},
        {"offset negative", one(R"({"dtype":"F32","shape":[1],"data_offsets":[-4,0]})"),
         Code::corrupt, "data_offsets is wrong"},
        {"offsets reversed", one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,0]})"),
         Code::corrupt, "do not lie"},
        {"offset past the end", one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})"),
         Code::corrupt, "do not lie"},
        {"size mismatch", one(R"({"dtype":"F32","shape":[2],"data_offsets":[0,4]})"), Code::corrupt,
         "takes 8 bytes"},
        {"hole at the start", one(R"({"dtype":"F32","shape":[1],"data_offsets":[4,8]})", 8),
         Code::corrupt, "hole of 4"},
        {"trailing data", one(R"({"dtype":"F32","shape":[1],"data_offsets":[0,4]})", 5),
         Code::corrupt, "1 bytes follow"},
        {"overlap",
         safetensors_image(R"({"t":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},)"
                           R"("u":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                           "dddd"),
         Code::corrupt, "\"u\" at 2 overlaps"},
        {"hole between",
         safetensors_image(R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                           R"("u":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
                           "dddd"),
         Code::corrupt, "hole of 1"},
        {"data without tensors", safetensors_image("{}", "d"), Code::corrupt, "1 bytes follow"},
    };
}

TEST(Safetensors, EveryValidationRuleFailsForItsOwnReason) {
    for (const Rule& rule : rules()) {
        const auto model = parse(rule.image);
        ASSERT_FALSE(model) << rule.name;
        EXPECT_EQ(model.error().code(), rule.code) << rule.name << ": " << model.error().message();
        EXPECT_NE(model.error().message().find(rule.says), std::string_view::npos)
            << rule.name << ": " << model.error().message();
    }
}

TEST(Safetensors, EveryTruncationIsAnError) {
    const auto image = small_file().build();
    for (std::size_t n = 0; n < image.size(); ++n) {
        const std::vector<std::uint8_t> cut(image.begin(),
                                            image.begin() + static_cast<std::ptrdiff_t>(n));
        EXPECT_FALSE(parse(cut)) << n;
    }
    EXPECT_TRUE(parse(image));
}

TEST(Safetensors, MutatedBytesNeverEscapeTheFile) {
    const auto image = small_file().build();
    for (std::size_t at = 0; at < image.size(); ++at) {
        for (const int value : {0, 1, int{'9'}, int{'}'}, int{'"'}, 0x7f, 0xff}) {
            std::vector<std::uint8_t> changed = image;
            changed[at] = static_cast<std::uint8_t>(value);
            const auto model = parse(changed);
            if (!model) continue;
            for (const TensorInfo& tensor : model->tensors()) {
                ASSERT_GE(tensor.data, changed.data());
                ASSERT_LE(tensor.data + tensor.bytes, changed.data() + changed.size());
            }
        }
    }
}

// --- directories
// -----------------------------------------------------------------------------------

std::vector<std::uint8_t> shard(const std::vector<std::string>& names) {
    SafetensorsWriter w;
    for (const std::string& name : names)
        w.add(name, "U8", {1}, name.substr(0, 1));
    return w.build();
}

void write_set(const test::TempDir& dir, const std::string& index) {
    dir.write("model-00001-of-00002.safetensors", shard({"a", "b"}));
    dir.write("model-00002-of-00002.safetensors", shard({"c"}));
    dir.write("model.safetensors.index.json", index);
}

std::string index_of(const std::string& map, const std::string& metadata = R"({"total_size":3})") {
    return R"({"metadata":)" + metadata + R"(,"weight_map":{)" + map + "}}";
}

const std::string kGoodMap =
    R"("a":"model-00001-of-00002.safetensors","b":"model-00001-of-00002.safetensors",)"
    R"("c":"model-00002-of-00002.safetensors")";

TEST(SafetensorsSet, OpensShardsThroughTheIndex) {
    const test::TempDir dir;
    write_set(dir, index_of(kGoodMap));
    const auto model = SafetensorsModel::open(dir.path());
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_EQ(model->tensors().size(), 3U);
    EXPECT_EQ(model->files().size(), 2U);
    EXPECT_EQ(model->find_tensor("c")->file, 1U);
    EXPECT_EQ(*model->find_tensor("c")->data, 'c');
    EXPECT_TRUE(model->warnings().empty());
}

TEST(SafetensorsSet, OpensASingleFileWithoutIndex) {
    const test::TempDir dir;
    dir.write("model.safetensors", shard({"a"}));
    const auto model = SafetensorsModel::open(dir.path());
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_EQ(model->tensors().size(), 1U);
}

TEST(SafetensorsSet, WarnsAboutWhatIsOddButHarmless) {
    const test::TempDir dir;
    write_set(
        dir,
        index_of(R"("a":"model-00001-of-00002.safetensors","c":"model-00002-of-00002.safetensors")",
                 R"({"total_size":99})"));
    const auto model = SafetensorsModel::open(dir.path());
    ASSERT_TRUE(model) << model.error().message();
    EXPECT_EQ(model->tensors().size(), 2U);
    EXPECT_EQ(model->find_tensor("b"), nullptr); // in the shard, not in the map
    ASSERT_EQ(model->warnings().size(), 2U);
    EXPECT_NE(model->warnings()[0].find("99"), std::string::npos);
}

struct SetFault {
    const char* name;
    std::string index;
    Code code;
    const char* says;
};

TEST(SafetensorsSet, EveryFaultIsNamed) {
    const std::vector<SetFault> faults = {
        {"not json", "{", Code::corrupt, "index is wrong"},
        {"no map", "{}", Code::corrupt, "no weight_map"},
        {"map kind", R"({"weight_map":[]})", Code::corrupt, "weight_map is wrong"},
        {"file kind", index_of(R"("a":1)"), Code::corrupt, "weight_map \"a\""},
        {"duplicate key", index_of(kGoodMap + "," + kGoodMap), Code::corrupt, "twice"},
        {"separator", index_of(R"("a":"../model.safetensors")"), Code::corrupt, "not a plain"},
        {"absolute", index_of(R"("a":"/etc/model.safetensors")"), Code::corrupt, "not a plain"},
        {"other ending", index_of(R"("a":"passwd")"), Code::corrupt, "not a plain"},
        {"NUL", index_of(R"("a":"m\u0000.safetensors")"), Code::corrupt, "not a plain"},
        {"missing shard", index_of(R"("a":"absent.safetensors")"), Code::not_found,
         "absent.safetensors"},
        {"wrong shard",
         index_of(
             R"("a":"model-00002-of-00002.safetensors","b":"model-00001-of-00002.safetensors")"),
         Code::not_found, "\"a\" is not in"},
        {"missing tensor", index_of(kGoodMap + R"(,"d":"model-00002-of-00002.safetensors")"),
         Code::not_found, "\"d\" is not in"},
    };
    for (const SetFault& fault : faults) {
        const test::TempDir dir;
        write_set(dir, fault.index);
        const auto model = SafetensorsModel::open(dir.path());
        ASSERT_FALSE(model) << fault.name;
        EXPECT_EQ(model.error().code(), fault.code)
            << fault.name << ": " << model.error().message();
        EXPECT_NE(model.error().message().find(fault.says), std::string_view::npos)
            << fault.name << ": " << model.error().message();
    }
}

TEST(SafetensorsSet, RefusesATensorInTwoShards) {
    const test::TempDir dir;
    write_set(dir, index_of(kGoodMap));
    dir.write("model-00002-of-00002.safetensors", shard({"c", "a"}));
    const auto model = SafetensorsModel::open(dir.path());
    ASSERT_FALSE(model);
    EXPECT_NE(model.error().message().find("\"a\" is in an earlier shard"), std::string_view::npos);
}

TEST(SafetensorsSet, FollowsLinksOnlyInsideTheStore) {
    const test::TempDir dir;
    const auto blob = dir.write("hub/blobs/0123", shard({"a"}));
    const auto outside = dir.write("elsewhere/secret", shard({"a"}));
    const auto snapshot = dir.path() / "hub" / "snapshots" / "rev";
    std::filesystem::create_directories(snapshot);
    std::filesystem::create_symlink("../../blobs/0123", snapshot / "model.safetensors");
    EXPECT_TRUE(SafetensorsModel::open(snapshot));

    std::filesystem::remove(snapshot / "model.safetensors");
    std::filesystem::create_symlink(outside, snapshot / "model.safetensors");
    const auto escaped = SafetensorsModel::open(snapshot);
    ASSERT_FALSE(escaped);
    EXPECT_EQ(escaped.error().code(), Code::permission_denied);

    const auto plain = dir.path() / "plain"; // not the cache's layout: the folder is the store
    std::filesystem::create_directories(plain);
    std::filesystem::create_symlink(blob, plain / "model.safetensors");
    EXPECT_EQ(SafetensorsModel::open(plain).error().code(), Code::permission_denied);
    std::filesystem::remove(plain / "model.safetensors");
    std::filesystem::create_directory(plain / "model.safetensors");
    EXPECT_EQ(SafetensorsModel::open(plain).error().code(), Code::invalid_argument);
}

} // namespace
} // namespace bloom::engine
