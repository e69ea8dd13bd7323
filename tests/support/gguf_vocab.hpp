#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/base/bytes.hpp>
#include <bloom/text/vocab.hpp>

namespace bloom::test {

inline std::string read_file(const std::filesystem::path& path) {
    std::ifstream in(path, std::ios::binary);
    if (!in) throw std::runtime_error("cannot read " + path.string());
    return {std::istreambuf_iterator<char>(in), {}};
}

/// The tokenizer metadata of a GGUF file, read without the engine so that the tokenizer's tests
/// stand alone. Trusts its input as far as a test may: wrong files end the test by an exception.
class GgufVocab {
public:
    explicit GgufVocab(const std::filesystem::path& path) : bytes_(read_file(path)) {
        if (bytes_.substr(0, 4) != "GGUF") throw std::runtime_error("not a GGUF file");
        at_ = 16; // magic, version, tensor count
        const auto n_pairs = take<std::uint64_t>();
        for (std::uint64_t i = 0; i < n_pairs; ++i)
            pair();
        spec.kind = *text::vocab_kind_from_gguf(model_);
    }

    text::VocabSpec spec;

private:
    enum Type : std::uint32_t {
        u8,
        i8,
        u16,
        i16,
        u32,
        i32,
        f32,
        boolean,
        string,
        array,
        u64,
        i64,
        f64
    };

    template <class T>
    T take() {
        if (bytes_.size() - at_ < sizeof(T)) throw std::runtime_error("GGUF file ends early");
        const T value = load_le<T>(bytes_.data() + at_);
        at_ += sizeof(T);
        return value;
    }

    std::string take_string() {
        const auto size = take<std::uint64_t>();
        if (bytes_.size() - at_ < size) throw std::runtime_error("GGUF file ends early");
        std::string value = bytes_.substr(at_, size);
        at_ += size;
        return value;
    }

    void skip(std::uint32_t type) {
        static constexpr std::size_t kSizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
        if (type == string) {
            take_string();
        } else if (type == array) {
            const auto element = take<std::uint32_t>();
            const auto n = take<std::uint64_t>();
            for (std::uint64_t i = 0; i < n; ++i)
                skip(element);
        } else {
            at_ += kSizes[type];
        }
    }

    void pair() {
        const std::string key = take_string();
        const auto type = take<std::uint32_t>();
        const std::string prefix = "tokenizer.ggml.";
        if (!key.starts_with(prefix)) return skip(type);
        const std::string name = key.substr(prefix.size());
        if (type == string) {
            const std::string value = take_string();
            if (name == "model") model_ = value;
            if (name == "pre") spec.pre = value;
        } else if (type == u32) {
            const auto value = static_cast<std::int32_t>(take<std::uint32_t>());
            if (name == "bos_token_id") spec.bos_id = value;
            if (name == "eos_token_id") spec.eos_id = value;
            if (name == "unknown_token_id") spec.unk_id = value;
            if (name == "padding_token_id") spec.pad_id = value;
        } else if (type == boolean) {
            const bool value = take<std::uint8_t>() != 0;
            if (name == "add_bos_token") spec.add_bos = value;
            if (name == "add_eos_token") spec.add_eos = value;
            if (name == "add_space_prefix") spec.space_prefix = text::space_prefix_from_gguf(value);
        } else if (type == array) {
            elements(name);
        } else {
            skip(type);
        }
    }

    void elements(const std::string& name) {
        const auto type = take<std::uint32_t>();
        const auto n = take<std::uint64_t>();
        for (std::uint64_t i = 0; i < n; ++i) {
            if (type == string && name == "tokens") {
                spec.tokens.push_back(take_string());
            } else if (type == string && name == "merges") {
                spec.merges.push_back(take_string());
            } else if (type == f32 && name == "scores") {
                spec.scores.push_back(take<float>());
            } else if (type == i32 && name == "token_type") {
                spec.types.push_back(static_cast<text::TokenType>(take<std::int32_t>()));
            } else {
                skip(type);
            }
        }
    }

    std::string bytes_;
    std::size_t at_ = 0;
    std::string model_;
};

/// The cases of a published pair: inputs of `X.gguf.inp` with the ids of `X.gguf.out`.
inline std::vector<std::pair<std::string, std::vector<std::int32_t>>>
read_pairs(const std::filesystem::path& stem) {
    const std::string separator = "\n__ggml_vocab_test__\n";
    const std::string inputs = read_file(stem.string() + ".inp");
    const std::string outputs = read_file(stem.string() + ".out");
    std::vector<std::pair<std::string, std::vector<std::int32_t>>> cases;
    std::size_t out_at = 0;
    for (std::size_t at = 0; at < inputs.size();) {
        const std::size_t end = std::min(inputs.find(separator, at), inputs.size());
        const std::size_t line_end = std::min(outputs.find('\n', out_at), outputs.size());
        auto& [text, ids] = cases.emplace_back();
        text = inputs.substr(at, end - at);
        for (std::size_t p = out_at; p < line_end;) {
            if (outputs[p] == ' ') {
                ++p;
                continue;
            }
            std::size_t used = 0;
            ids.push_back(std::stoi(outputs.substr(p, line_end - p), &used));
            p += used;
        }
        at = end == inputs.size() ? end : end + separator.size();
        out_at = line_end + 1;
    }
    return cases;
}

} // namespace bloom::test
