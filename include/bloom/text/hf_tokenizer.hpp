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
    std::string_view config_json = {}; ///< of the model: more stop ids
    /// Where there is no tokenizer.json: byte-level BPE in the older files, which need family_pre.
    std::string_view vocab_json = {};
    std::string_view merges_txt = {};
    std::string_view added_tokens_json = {};
    /// A name of splitters_for_pre() for what the files leave open; empty: that is an error.
    std::string_view family_pre = {};
};

struct HfTokenizer {
    VocabSpec vocab;
    /// chat_template.jinja, else the config's template (of a list the one named "default").
    std::string chat_template;
    std::vector<std::pair<std::string, std::string>> named_templates; ///< {name, template}
    /// The file splits by this expression, which is not built in, and the vocabulary has the
    /// family's splitters instead: only good if the tokenizer then behaves like a published one
    /// (published_tokenizers.hpp). Empty: everything is as the file says.
    std::string unknown_regex;
};

/// Reads a BPE tokenizer in the tokenizer.json format, or from vocab.json and merges.txt.
/// Errors: invalid_argument (not JSON), corrupt (ids, merges), unsupported (a normaliser, splitter,
///         regular expression, model or decoder that is not built in, named), too_large.
///         Nothing is ever replaced by a default.
Result<HfTokenizer> read_hf_tokenizer(const HfTokenizerFiles& files);

} // namespace bloom::text
