#include <algorithm>
#include <charconv>
#include <cstdint>
#include <limits>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>

#include <bloom/base/text.hpp>
#include <bloom/text/hf_tokenizer.hpp>

#include "hf_pipeline.hpp"

namespace bloom::text {
namespace {

Result<std::size_t> token_index(const json::Value& value, std::string_view token) {
    BLOOM_TRY(const std::uint64_t id, value.as_uint64());
    if (id < kMaxTokens) return static_cast<std::size_t>(id);
    return Error{Code::too_large, fmt::format("the token {} has id {}; ids up to {} are read",
                                              quoted(token), id, kMaxTokens - 1)};
}

/// Collects one tokenizer out of its files. Views point into the parsers' documents.
class Reader {
public:
    explicit Reader(const HfTokenizerFiles& files) : files_(files) {}

    Result<HfTokenizer> run();

private:
    Result<> read_tokenizer();
    Result<> read_model(const json::Object& model);
    Result<> check_model_options(const json::Object& model) const;
    Result<> read_vocab(const json::Object& vocab);
    Result<> read_merges(const json::Array& merges);
    Result<> read_added(const json::Array& added);
    static Result<AddedTokenRule> read_rule(const json::Object& token);
    Result<> add_token(std::size_t id, std::string_view content, bool special, AddedTokenRule rule);
    Result<> read_config();
    Result<> read_templates(const json::Value& value);
    Result<> read_generation_config();
    Result<> read_model_config();
    Result<> read_old_files();
    Result<> read_added_decoder(const json::Object& config);
    Result<> read_ids(const json::Value& value, std::string_view what, bool lenient,
                      std::vector<std::int32_t>& out) const;
    Result<> named_token(const json::Object& config, std::string_view key, std::int32_t& id) const;
    void apply_pipeline();
    void grow(std::size_t n_tokens);

    HfTokenizerFiles files_;
    HfPipeline pipeline_;
    bool byte_fallback_ = false;
    bool config_adds_bos_ = false;
    bool config_adds_eos_ = false;
    std::string unk_token_;
    std::unordered_map<std::string, std::int32_t> id_by_text_;
    std::unordered_map<std::int32_t, std::size_t> rule_by_id_; ///< into added_rules
    HfTokenizer out_;
};

void Reader::grow(std::size_t n_tokens) {
    VocabSpec& v = out_.vocab;
    if (v.tokens.size() >= n_tokens) return;
    v.tokens.resize(n_tokens);
    v.types.resize(n_tokens, TokenType::unused); // gaps stay unused
}

Result<> Reader::read_vocab(const json::Object& vocab) {
    VocabSpec& v = out_.vocab;
    if (vocab.size() > kMaxTokens) {
        return Error{Code::too_large,
                     fmt::format("the vocabulary has {} tokens; at most {} are read", vocab.size(),
                                 kMaxTokens)};
    }
    std::size_t n_tokens = 0;
    for (const json::Member member : vocab) {
        BLOOM_TRY(const std::size_t id, token_index(member.value, member.key));
        n_tokens = std::max(n_tokens, id + 1);
    }
    grow(n_tokens);
    id_by_text_.reserve(vocab.size());
    for (const json::Member member : vocab) {
        BLOOM_TRY(const std::size_t id, token_index(member.value, member.key));
        if (v.types[id] != TokenType::unused) {
            return Error{Code::corrupt, fmt::format("the tokens {} and {} have the same id {}",
                                                    quoted(v.tokens[id]), quoted(member.key), id)};
        }
        const bool byte = byte_fallback_ && member.key.size() == 6 &&
                          member.key.starts_with("<0x") && member.key.ends_with('>') &&
                          from_hex(member.key.substr(3, 2));
        v.tokens[id] = member.key;
        v.types[id] = byte ? TokenType::byte : TokenType::normal;
        id_by_text_.emplace(member.key, static_cast<std::int32_t>(id));
    }
    return {};
}

Result<> Reader::read_merges(const json::Array& merges) {
    VocabSpec& v = out_.vocab;
    if (merges.size() > kMaxMerges) {
        return Error{Code::too_large,
                     fmt::format("the tokenizer has {} merges; at most {} are read", merges.size(),
                                 kMaxMerges)};
    }
    v.merges.reserve(merges.size());
    for (const json::Value merge : merges) {
        if (merge.is_string()) {
            BLOOM_TRY(const std::string_view text, merge.as_string());
            v.merges.emplace_back(text);
            continue;
        }
        BLOOM_TRY(const json::Array pair, merge.as_array());
        std::string joined;
        std::size_t n_parts = 0;
        for (const json::Value part : pair) {
            BLOOM_TRY(const std::string_view text, part.as_string());
            // Both alphabets write a space as another character, so a space can separate.
            if (text.empty() || text.find(' ') != std::string_view::npos) {
                return Error{Code::unsupported, fmt::format("merge {} has the part {}",
                                                            v.merges.size(), quoted(text))};
            }
            if (n_parts++ > 0) joined += ' ';
            joined += text;
        }
        if (n_parts != 2) {
            return Error{Code::corrupt, fmt::format("merge {} has {} parts instead of 2",
                                                    v.merges.size(), n_parts)};
        }
        v.merges.push_back(std::move(joined));
    }
    return {};
}

/// Options that would change the result and that no supported model uses.
Result<> Reader::check_model_options(const json::Object& model) const {
    if (const auto dropout = present(model, "dropout")) {
        BLOOM_TRY(const double rate, dropout->as_double());
        if (rate != 0.0) return Error{Code::unsupported, "the tokenizer model has dropout"};
    }
    for (const std::string_view key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
        BLOOM_TRY(const std::string_view text, text_member(model, key));
        if (!text.empty()) {
            return Error{Code::unsupported, fmt::format("the tokenizer model has a {}", key)};
        }
    }
    return {};
}

Result<> Reader::read_model(const json::Object& model) {
    BLOOM_TRY(const std::string_view type, text_member(model, "type"));
    const bool is_bpe = type == "BPE" || (type.empty() && present(model, "merges"));
    if (!is_bpe) {
        return Error{
            Code::unsupported,
            fmt::format("the tokenizer model {} is not supported (only BPE)", quoted(type))};
    }
    BLOOM_OK(check_model_options(model));
    BLOOM_TRY(byte_fallback_, flag_member(model, "byte_fallback", false));
    BLOOM_TRY(out_.vocab.ignore_merges, flag_member(model, "ignore_merges", false));
    BLOOM_TRY(const std::string_view unk, text_member(model, "unk_token"));
    unk_token_ = unk;
    BLOOM_TRY(const json::Value vocab_value, model.at("vocab"));
    BLOOM_TRY(const json::Object vocab, vocab_value.as_object());
    BLOOM_OK(read_vocab(vocab));
    BLOOM_TRY(const json::Value merges_value, model.at("merges"));
    BLOOM_TRY(const json::Array merges, merges_value.as_array());
    return read_merges(merges);
}

Result<> Reader::read_added(const json::Array& added) {
    for (const json::Value value : added) {
        BLOOM_TRY(const json::Object token, value.as_object());
        BLOOM_TRY(const std::string_view content, text_member(token, "content"));
        BLOOM_TRY(const json::Value id_value, token.at("id"));
        BLOOM_TRY(const std::size_t id, token_index(id_value, content));
        BLOOM_TRY(const AddedTokenRule rule, read_rule(token));
        BLOOM_TRY(const bool special, flag_member(token, "special", false));
        BLOOM_OK(add_token(id, content, special, rule));
    }
    return {};
}

Result<AddedTokenRule> Reader::read_rule(const json::Object& token) {
    AddedTokenRule rule;
    BLOOM_TRY(rule.single_word, flag_member(token, "single_word", false));
    BLOOM_TRY(rule.lstrip, flag_member(token, "lstrip", false));
    BLOOM_TRY(rule.rstrip, flag_member(token, "rstrip", false));
    BLOOM_TRY(rule.normalized, flag_member(token, "normalized", false));
    return rule;
}

/// Adds or changes one token outside of the model. A later word on the same one counts.
Result<> Reader::add_token(std::size_t id, std::string_view content, bool special,
                           AddedTokenRule rule) {
    if (content.empty()) return Error{Code::corrupt, "an added token has no content"};
    VocabSpec& v = out_.vocab;
    const bool known = id < v.types.size() && v.types[id] != TokenType::unused;
    if (known && v.tokens[id] != content) {
        return Error{Code::corrupt, fmt::format("the added token {} has the id of {}",
                                                quoted(content), quoted(v.tokens[id]))};
    }
    rule.id = static_cast<std::int32_t>(id);
    rule.in_model = known && v.types[id] == TokenType::normal;
    grow(id + 1);
    v.tokens[id] = content;
    v.types[id] = special ? TokenType::control : TokenType::user_defined;
    id_by_text_[std::string(content)] = rule.id;
    const auto [at, is_new] = rule_by_id_.try_emplace(rule.id, v.added_rules.size());
    if (is_new) {
        v.added_rules.push_back(rule);
    } else {
        AddedTokenRule& before = v.added_rules[at->second];
        rule.in_model = before.in_model;
        before = rule;
    }
    return {};
}

void Reader::apply_pipeline() {
    VocabSpec& v = out_.vocab;
    v.kind = pipeline_.byte_level ? VocabKind::byte_bpe : VocabKind::char_bpe;
    if (v.pre.empty()) v.normalize_nfc = pipeline_.nfc; // else by the family
    v.splitters = pipeline_.splitters;
    v.space_prefix = pipeline_.space_prefix;
    if (pipeline_.bos_id) v.bos_id = *pipeline_.bos_id;
    if (pipeline_.eos_id && v.eos_id < 0) v.eos_id = *pipeline_.eos_id;
    // A character vocabulary without BOS in its template leaves it to the chat template; a plain
    // prompt needs it all the same.
    const bool bos_by_kind = v.kind == VocabKind::char_bpe;
    v.add_bos = v.bos_id >= 0 && (pipeline_.bos_id || config_adds_bos_ || bos_by_kind);
    v.add_eos = v.eos_id >= 0 && (pipeline_.eos_id || config_adds_eos_);
}

Result<> Reader::read_tokenizer() {
    if (files_.tokenizer_json.size() > kMaxTokenizerJsonBytes) {
        return Error{Code::too_large,
                     fmt::format("tokenizer.json has {} bytes; at most {} are read",
                                 files_.tokenizer_json.size(), kMaxTokenizerJsonBytes)};
    }
    json::Parser parser;
    BLOOM_TRY(const json::Value root, parser.parse(files_.tokenizer_json));
    BLOOM_TRY(const json::Object tokenizer, root.as_object());
    BLOOM_TRY(const json::Value model_value, tokenizer.at("model"));
    BLOOM_TRY(const json::Object model, model_value.as_object());
    BLOOM_OK(read_model(model));
    if (const auto added = present(tokenizer, "added_tokens")) {
        BLOOM_TRY(const json::Array list, added->as_array());
        BLOOM_OK(read_added(list));
    }
    BLOOM_TRY(pipeline_, read_hf_pipeline(tokenizer, files_.family_pre));
    out_.unknown_regex = pipeline_.unknown_regex;
    if (!pipeline_.byte_level && !pipeline_.marks_spaces) {
        return Error{Code::unsupported, "the tokenizer neither maps bytes nor marks spaces"};
    }
    if (!pipeline_.byte_level && !pipeline_.splitters.empty()) {
        return Error{Code::unsupported, "the tokenizer splits a character vocabulary"};
    }
    if (!unk_token_.empty()) {
        const auto it = id_by_text_.find(unk_token_);
        if (it == id_by_text_.end()) {
            return Error{Code::corrupt, fmt::format("the unknown token {} is not in the vocabulary",
                                                    quoted(unk_token_))};
        }
        out_.vocab.unk_id = it->second;
    }
    return {};
}

/// A token named by a config, as text or as {"content": text}. One that the vocabulary lacks is as
/// good as none: configs name tokens that were never added.
Result<> Reader::named_token(const json::Object& config, std::string_view key,
                             std::int32_t& id) const {
    const auto value = present(config, key);
    if (!value) return {};
    std::string_view text;
    if (value->is_object()) {
        BLOOM_TRY(const json::Object object, value->as_object());
        BLOOM_TRY(text, text_member(object, "content"));
    } else {
        BLOOM_TRY(text, text_member(config, key));
    }
    const auto it = id_by_text_.find(std::string(text));
    if (it != id_by_text_.end()) id = it->second;
    return {};
}

Result<> Reader::read_templates(const json::Value& value) {
    if (value.is_string()) {
        BLOOM_TRY(out_.chat_template, value.as_string());
        return {};
    }
    BLOOM_TRY(const json::Array list, value.as_array());
    for (const json::Value item : list) {
        BLOOM_TRY(const json::Object entry, item.as_object());
        BLOOM_TRY(const std::string_view name, text_member(entry, "name"));
        BLOOM_TRY(const std::string_view text, text_member(entry, "template"));
        if (name == "default") out_.chat_template = text;
        out_.named_templates.emplace_back(name, text);
    }
    return {};
}

Result<> Reader::read_config() {
    if (!files_.tokenizer_config_json.empty()) {
        json::Parser parser;
        BLOOM_TRY(const json::Value root, parser.parse(files_.tokenizer_config_json));
        BLOOM_TRY(const json::Object config, root.as_object());
        VocabSpec& v = out_.vocab;
        if (files_.tokenizer_json.empty()) BLOOM_OK(read_added_decoder(config));
        BLOOM_OK(named_token(config, "bos_token", v.bos_id));
        BLOOM_OK(named_token(config, "eos_token", v.eos_id));
        BLOOM_OK(named_token(config, "pad_token", v.pad_id));
        BLOOM_TRY(config_adds_bos_, flag_member(config, "add_bos_token", false));
        BLOOM_TRY(config_adds_eos_, flag_member(config, "add_eos_token", false));
        if (const auto value = present(config, "chat_template")) BLOOM_OK(read_templates(*value));
    }
    if (!files_.chat_template_jinja.empty()) out_.chat_template = files_.chat_template_jinja;
    return {};
}

Result<> Reader::read_generation_config() {
    if (files_.generation_config_json.empty()) return {};
    json::Parser parser;
    BLOOM_TRY(const json::Value root, parser.parse(files_.generation_config_json));
    BLOOM_TRY(const json::Object config, root.as_object());
    VocabSpec& v = out_.vocab;
    if (const auto ids = present(config, "suppress_tokens"))
        BLOOM_OK(read_ids(*ids, "suppressed id", true, v.suppress_ids));
    const auto value = present(config, "eos_token_id");
    if (!value) return {};
    BLOOM_OK(read_ids(*value, "stop id", false, v.stop_ids));
    if (v.eos_id < 0 && !v.stop_ids.empty()) v.eos_id = v.stop_ids.front();
    return {};
}

/// One id or a list of them. Those outside the vocabulary are left out where `lenient`.
Result<> Reader::read_ids(const json::Value& value, std::string_view what, bool lenient,
                          std::vector<std::int32_t>& out) const {
    const std::size_t n_tokens = out_.vocab.tokens.size();
    const auto add = [&](const json::Value& id_value) -> Result<> {
        BLOOM_TRY(const std::uint64_t id, id_value.as_uint64());
        if (id < n_tokens) {
            out.push_back(static_cast<std::int32_t>(id));
        } else if (!lenient) {
            return Error{Code::corrupt,
                         fmt::format("the {} {} is outside the vocabulary of {} tokens", what, id,
                                     n_tokens)};
        }
        return {};
    };
    if (!value.is_array()) return add(value);
    BLOOM_TRY(const json::Array list, value.as_array());
    for (const json::Value id : list)
        BLOOM_OK(add(id));
    return {};
}

/// config.json names stop tokens that generation_config.json forgets, and the other way round.
Result<> Reader::read_model_config() {
    if (files_.config_json.empty()) return {};
    json::Parser parser;
    BLOOM_TRY(const json::Value root, parser.parse(files_.config_json));
    BLOOM_TRY(const json::Object config, root.as_object());
    std::vector<std::int32_t>& stops = out_.vocab.more_stop_ids;
    if (const auto ids = present(config, "eos_token_id"))
        BLOOM_OK(read_ids(*ids, "stop id", true, stops));
    const auto text = present(config, "text_config");
    if (!text || !text->is_object()) return {};
    if (const auto ids = present(*text->as_object(), "eos_token_id"))
        BLOOM_OK(read_ids(*ids, "stop id", true, stops));
    return {};
}

/// Byte-level BPE in vocab.json and merges.txt. What they leave open is the family's.
Result<> Reader::read_old_files() {
    if (files_.family_pre.empty()) {
        return Error{Code::unsupported,
                     "vocab.json and merges.txt do not say how this model splits text"};
    }
    if (files_.vocab_json.size() + files_.merges_txt.size() > kMaxTokenizerJsonBytes) {
        return Error{Code::too_large,
                     fmt::format("vocab.json and merges.txt have {} bytes; at most {} are read",
                                 files_.vocab_json.size() + files_.merges_txt.size(),
                                 kMaxTokenizerJsonBytes)};
    }
    VocabSpec& v = out_.vocab;
    json::Parser parser;
    BLOOM_TRY(const json::Value root, parser.parse(files_.vocab_json));
    BLOOM_TRY(const json::Object vocab, root.as_object());
    BLOOM_OK(read_vocab(vocab));
    bool first = true;
    for (std::string_view rest = files_.merges_txt; !rest.empty(); first = false) {
        const std::size_t eol = std::min(rest.find('\n'), rest.size());
        std::string_view line = rest.substr(0, eol);
        rest.remove_prefix(std::min(eol + 1, rest.size()));
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.empty() || (first && line.starts_with("#version"))) continue;
        if (v.merges.size() == kMaxMerges) {
            return Error{Code::too_large,
                         fmt::format("merges.txt has more than {} merges", kMaxMerges)};
        }
        v.merges.emplace_back(line);
    }
    if (!files_.added_tokens_json.empty()) {
        json::Parser added_parser;
        BLOOM_TRY(const json::Value added, added_parser.parse(files_.added_tokens_json));
        BLOOM_TRY(const json::Object tokens, added.as_object());
        for (const json::Member token : tokens) {
            BLOOM_TRY(const std::size_t id, token_index(token.value, token.key));
            BLOOM_OK(add_token(id, token.key, true, {}));
        }
    }
    v.pre = files_.family_pre;
    pipeline_.byte_level = true;
    return {};
}

/// `added_tokens_decoder` of tokenizer_config.json: {"id": {content, special, ..}}.
Result<> Reader::read_added_decoder(const json::Object& config) {
    const auto value = present(config, "added_tokens_decoder");
    if (!value) return {};
    BLOOM_TRY(const json::Object tokens, value->as_object());
    for (const json::Member member : tokens) {
        std::size_t id = 0;
        const char* const end = member.key.data() + member.key.size();
        const auto [at, failure] = std::from_chars(member.key.data(), end, id);
        if (failure != std::errc{} || at != end || id >= kMaxTokens) {
            return Error{Code::corrupt,
                         fmt::format("added_tokens_decoder has the id {}", quoted(member.key))};
        }
        BLOOM_TRY(const json::Object token, member.value.as_object());
        BLOOM_TRY(const std::string_view content, text_member(token, "content"));
        BLOOM_TRY(const bool special, flag_member(token, "special", false));
        BLOOM_TRY(const AddedTokenRule rule, read_rule(token));
        BLOOM_OK(add_token(id, content, special, rule));
    }
    return {};
}

Result<HfTokenizer> Reader::run() {
    const auto in = [](std::string_view file, Result<> result) -> Result<> {
        if (result) return {};
        return std::move(result).error().with_context(file);
    };
    if (files_.tokenizer_json.empty() && !files_.vocab_json.empty()) {
        BLOOM_OK(in("vocab.json", read_old_files()));
    } else {
        BLOOM_OK(in("tokenizer.json", read_tokenizer()));
    }
    BLOOM_OK(in("tokenizer_config.json", read_config()));
    BLOOM_OK(in("generation_config.json", read_generation_config()));
    BLOOM_OK(in("config.json", read_model_config()));
    apply_pipeline();
    return std::move(out_);
}

} // namespace

Result<HfTokenizer> read_hf_tokenizer(const HfTokenizerFiles& files) {
    return Reader(files).run();
}

} // namespace bloom::text
