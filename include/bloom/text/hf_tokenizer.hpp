#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <bloom/base/result.hpp>
#include <bloom/text/vocab.hpp>

namespace bloom::text {

/// Longest tokenizer.json that is read; real ones have 10 to 35 MB.
inline constexpr std::size_t kMaxTokenizerJsonBytes = std::size_t{256} << 20;

/// Contents of the files beside a Hugging Face model; empty = the file is absent.
struct HfTokenizerFiles {
    std::string_view tokenizer_json = {};
    std::string_view tokenizer_config_json = {};
    std::string_view generation_config_json = {};
    std::string_view chat_template_jinja = {};
};

struct HfTokenizer {
    VocabSpec vocab;
    /// chat_template.jinja, else the config's template (of a list the one named "default").
    std::string chat_template;
    std::vector<std::pair<std::string, std::string>> named_templates; ///< {name, template}
};

/// Reads a BPE tokenizer in the tokenizer.json format.
/// Errors: invalid_argument (not JSON), corrupt (ids, merges), unsupported (a normaliser, splitter,
///         regular expression, model or decoder that is not built in, named), too_large.
///         Nothing is ever replaced by a default.
Result<HfTokenizer> read_hf_tokenizer(const HfTokenizerFiles& files);

} // namespace bloom::text
