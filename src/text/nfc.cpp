#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include <utf8proc.h>

#include <bloom/base/check.hpp>
#include <bloom/text/nfc.hpp>
#include <bloom/text/unicode.hpp>

// utf8proc's own normaliser puts combining marks in order by exchanging neighbours, which is
// quadratic on long runs of marks; a request can contain a megabyte of them. So only its tables are
// used: they are turned into decompositions and pairs once, and the algorithm is here.
namespace bloom::text {
namespace {

// Hangul syllables compose by arithmetic, Unicode 15, section 3.12.
constexpr char32_t kSBase = 0xac00, kLBase = 0x1100, kVBase = 0x1161, kTBase = 0x11a7;
constexpr char32_t kLCount = 19, kVCount = 21, kTCount = 28, kSCount = kLCount * kVCount * kTCount;

class Tables {
public:
    static const Tables& instance() {
        static const Tables tables;
        return tables;
    }

    /// Full canonical decomposition, empty if the character is its own.
    std::u32string_view decomposition(char32_t cp) const noexcept {
        const auto it = decompositions_.find(cp);
        return it == decompositions_.end() ? std::u32string_view() : it->second;
    }

    /// The primary composite of two characters, 0 if there is none.
    char32_t compose(char32_t first, char32_t second) const noexcept {
        const auto it = pairs_.find(key(first, second));
        return it == pairs_.end() ? 0 : it->second;
    }

private:
    Tables();

    static std::uint64_t key(char32_t first, char32_t second) noexcept {
        return std::uint64_t{first} << 32 | second;
    }

    std::unordered_map<char32_t, std::u32string> decompositions_;
    std::unordered_map<std::uint64_t, char32_t> pairs_;
};

/// Whether NFC leaves this single character as it is.
bool stays_in_nfc(char32_t cp) {
    std::string text;
    append_utf8(text, cp);
    utf8proc_uint8_t* mapped = nullptr;
    const utf8proc_ssize_t n =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                     static_cast<utf8proc_ssize_t>(text.size()), &mapped,
                     static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(mapped, &std::free);
    return n == static_cast<utf8proc_ssize_t>(text.size()) &&
           std::equal(text.begin(), text.end(), reinterpret_cast<const char*>(mapped));
}

Tables::Tables() {
    struct Composite {
        char32_t cp;
        std::u32string_view parts;
    };

    std::vector<Composite> composites;
    for (char32_t cp = 0xc0; cp < 0x110000; ++cp) {
        if (cp == kSBase) cp += kSCount;
        const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(cp));
        if (property->decomp_seqindex == UINT16_MAX || property->decomp_type != 0) continue;
        std::array<utf8proc_int32_t, 32> parts{};
        int boundary = 0;
        const utf8proc_ssize_t n =
            utf8proc_decompose_char(static_cast<utf8proc_int32_t>(cp), parts.data(), parts.size(),
                                    UTF8PROC_DECOMPOSE, &boundary);
        BLOOM_CHECK(n > 0 && n <= static_cast<utf8proc_ssize_t>(parts.size()));
        const auto& stored = decompositions_[cp] = std::u32string(parts.begin(), parts.begin() + n);
        if (n >= 2 && stays_in_nfc(cp)) composites.push_back({cp, stored});
    }
    // A composite is made of (the character for all parts but the last, the last part): by length,
    // so that the shorter one exists when the longer one asks for it.
    std::sort(composites.begin(), composites.end(), [](const auto& a, const auto& b) {
        return std::pair(a.parts.size(), a.cp) < std::pair(b.parts.size(), b.cp);
    });
    std::unordered_map<std::u32string_view, char32_t> by_parts;
    for (const auto& [cp, parts] : composites) {
        const std::u32string_view head = parts.substr(0, parts.size() - 1);
        char32_t first = head[0];
        if (head.size() > 1) {
            const auto it = by_parts.find(head);
            BLOOM_CHECK(it != by_parts.end());
            first = it->second;
        }
        pairs_.emplace(key(first, parts.back()), cp);
        by_parts.emplace(parts, cp);
    }
}

struct Unit {
    char32_t cp;      ///< kIllFormed: `byte` goes out as it came
    std::uint8_t ccc; ///< canonical combining class
    std::uint8_t byte;
};

Unit unit_of(char32_t cp) noexcept {
    const auto* property = utf8proc_get_property(static_cast<utf8proc_int32_t>(cp));
    return {cp, static_cast<std::uint8_t>(property->combining_class), 0};
}

void decompose(std::string_view text, std::vector<Unit>& units) {
    const Tables& tables = Tables::instance();
    for (std::size_t at = 0; at < text.size();) {
        const Char c = decode_char(text, at);
        if (c.cp == kIllFormed) {
            units.push_back({kIllFormed, 0, static_cast<std::uint8_t>(text[at])});
        } else if (c.cp < 0xc0) {
            units.push_back({c.cp, 0, 0});
        } else if (c.cp - kSBase < kSCount) {
            const char32_t s = c.cp - kSBase;
            units.push_back({kLBase + s / (kVCount * kTCount), 0, 0});
            units.push_back({kVBase + s % (kVCount * kTCount) / kTCount, 0, 0});
            if (s % kTCount != 0) units.push_back({kTBase + s % kTCount, 0, 0});
        } else if (const auto parts = tables.decomposition(c.cp); !parts.empty()) {
            for (const char32_t part : parts)
                units.push_back(unit_of(part));
        } else {
            units.push_back(unit_of(c.cp));
        }
        at += c.bytes;
    }
}

/// Puts a run of marks in order of their combining classes, equal ones as they were. Short runs by
/// insertion, long ones by counting, so that no run costs more than linear time.
/// Returns: exchanges or placements made.
std::uint64_t order_run(std::span<Unit> run, std::vector<Unit>& scratch) {
    constexpr std::size_t kInsertion = 32;
    std::uint64_t steps = 0;
    if (run.size() <= kInsertion) {
        for (std::size_t i = 1; i < run.size(); ++i) {
            for (std::size_t k = i; k > 0 && run[k - 1].ccc > run[k].ccc; --k, ++steps) {
                std::swap(run[k - 1], run[k]);
            }
        }
        return steps;
    }
    std::array<std::size_t, 257> starts{};
    for (const Unit& unit : run)
        ++starts[unit.ccc + 1u];
    for (std::size_t c = 1; c < starts.size(); ++c)
        starts[c] += starts[c - 1];
    scratch.assign(run.begin(), run.end());
    for (const Unit& unit : scratch)
        run[starts[unit.ccc]++] = unit;
    return run.size();
}

std::uint64_t order_marks(std::vector<Unit>& units) {
    std::uint64_t steps = 0;
    std::vector<Unit> scratch;
    for (std::size_t at = 0; at < units.size();) {
        if (units[at].ccc == 0) {
            ++at;
            continue;
        }
        std::size_t end = at;
        while (end < units.size() && units[end].ccc != 0)
            ++end;
        steps += order_run(std::span(units).subspan(at, end - at), scratch);
        at = end;
    }
    return steps;
}

char32_t compose_pair(char32_t first, char32_t second) noexcept {
    if (first - kLBase < kLCount && second - kVBase < kVCount) {
        return kSBase + ((first - kLBase) * kVCount + (second - kVBase)) * kTCount;
    }
    if (first - kSBase < kSCount && (first - kSBase) % kTCount == 0 && second > kTBase &&
        second < kTBase + kTCount) {
        return first + (second - kTBase);
    }
    return Tables::instance().compose(first, second);
}

/// Canonical composition (UAX 15, D117): each character joins the last starter unless something
/// between them blocks it. In place, one pass.
void compose(std::vector<Unit>& units) {
    constexpr std::size_t kNone = ~std::size_t{0};
    std::size_t starter = kNone;
    std::size_t out = 0;
    for (const Unit unit : units) {
        if (starter != kNone && unit.cp != kIllFormed) {
            const bool adjacent = out == starter + 1;
            const bool blocked = !adjacent && units[out - 1].ccc >= unit.ccc;
            if (!blocked) {
                if (const char32_t whole = compose_pair(units[starter].cp, unit.cp); whole != 0) {
                    units[starter].cp = whole;
                    continue;
                }
            }
        }
        if (unit.ccc == 0) starter = unit.cp == kIllFormed ? kNone : out;
        units[out++] = unit;
    }
    units.resize(out);
}

} // namespace

bool nfc_trivial(std::string_view text) noexcept {
    // U+0300 is 0xCC 0x80, and no ill-formed sequence of smaller bytes can compose.
    return std::all_of(text.begin(), text.end(),
                       [](char c) { return static_cast<unsigned char>(c) < 0xcc; });
}

std::uint64_t normalize_nfc(std::string_view text, std::string& out) {
    out.clear();
    std::vector<Unit> units;
    units.reserve(text.size());
    decompose(text, units);
    const std::uint64_t steps = 2 * units.size() + order_marks(units);
    compose(units);
    out.reserve(text.size());
    for (const Unit& unit : units) {
        if (unit.cp == kIllFormed) {
            out += static_cast<char>(unit.byte);
        } else {
            append_utf8(out, unit.cp);
        }
    }
    return steps;
}

} // namespace bloom::text
