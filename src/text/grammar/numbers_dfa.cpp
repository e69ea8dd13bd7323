#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "text/grammar/numbers.hpp"

/// Numbers within bounds are read digit by digit: how many there are, how the digits so far compare
/// with those of the two bounds, and what remains of them after division by the step is all that a
/// state has to know.
namespace bloom::text::schema {
namespace {

/// A bound on the magnitude.
struct Mark {
    std::string whole;
    std::string fraction;
    bool exclusive = false;
};

/// What magnitudes one sign allows.
struct Side {
    std::optional<Mark> least;
    std::optional<Mark> most;
    std::uint32_t n_whole = kNumberDigits;
    std::uint32_t n_fraction = kNumberDigits;
};

/// Multiples of digits * 10^zeros among the integers in units of 10^-n_fraction.
struct Step {
    std::uint32_t modulus = 1;
    std::uint32_t zeros = 0;
};

enum class Phase : std::uint8_t { start, zero, whole, point, fraction };

struct Place {
    Phase phase = Phase::start;
    std::uint32_t n = 0; ///< digits of this part so far
    int least = 0;       ///< digits so far against those of the bound
    int most = 0;
    std::uint32_t rest = 0;  ///< of the digits without the last `zeros`, by the modulus
    std::uint32_t zeros = 0; ///< at the end, as many as the step cares for

    auto key(bool negative) const {
        return std::tuple(negative, phase, n, least, most, rest, zeros);
    }
};

Mark mark_of(const NumberBound& bound) {
    return {bound.value.whole(), bound.value.fraction(), bound.exclusive};
}

int against(int so_far, char digit, const std::string& digits, std::size_t at) {
    if (so_far != 0) return so_far;
    const char other = at < digits.size() ? digits[at] : '0';
    return digit < other ? -1 : digit > other ? 1 : 0;
}

/// The comparison when `n` digits before the point have been read and no more follow.
int whole_against(int so_far, std::uint32_t n, const Mark& mark) {
    if (n != mark.whole.size()) return n < mark.whole.size() ? -1 : 1;
    return so_far;
}

class Maker {
public:
    Maker(const NumberRange& range, Step step, bool exponents)
        : integer_(range.integer), step_(step), exponents_(exponents) {}

    /// Adds the side's automaton; `at` is the state before its first digit.
    bool add(const Side& side, bool negative, std::uint32_t at) {
        side_ = &side;
        negative_ = negative;
        todo_.assign(1, {Place{}, at});
        while (!todo_.empty()) {
            const auto [place, state] = todo_.back();
            todo_.pop_back();
            expand(place, state);
            if (dfa.states.size() > kMaxNumberStates) return false;
        }
        return true;
    }

    std::uint32_t new_state(bool accepts) {
        dfa.states.push_back({{}, accepts});
        return static_cast<std::uint32_t>(dfa.states.size() - 1);
    }

    void edge(std::uint32_t from, char first, char last, std::uint32_t to) {
        dfa.states[from].edges.push_back(
            {static_cast<std::uint8_t>(first), static_cast<std::uint8_t>(last), to});
    }

    /// Edges in the order of their bytes, and only those from which a number can still be ended.
    void finish() {
        std::vector<std::vector<std::uint32_t>> from(dfa.states.size());
        std::vector<std::uint32_t> open;
        std::vector<bool> lives(dfa.states.size());
        for (std::uint32_t s = 0; s < dfa.states.size(); ++s) {
            for (const ByteDfa::Edge& e : dfa.states[s].edges)
                from[e.target].push_back(s);
            if (dfa.states[s].accepts) {
                lives[s] = true;
                open.push_back(s);
            }
        }
        while (!open.empty()) {
            const std::uint32_t s = open.back();
            open.pop_back();
            for (const std::uint32_t p : from[s]) {
                if (lives[p]) continue;
                lives[p] = true;
                open.push_back(p);
            }
        }
        for (ByteDfa::State& state : dfa.states) {
            std::erase_if(state.edges, [&](const ByteDfa::Edge& e) { return !lives[e.target]; });
            std::ranges::sort(state.edges, {}, &ByteDfa::Edge::first);
        }
    }

    ByteDfa dfa;

private:
    void expand(const Place& place, std::uint32_t state) {
        const bool can_have_fraction = !integer_ && side_->n_fraction > 0 &&
                                       (place.phase == Phase::zero || place.phase == Phase::whole);
        if (can_have_fraction) {
            Place next = place;
            next.phase = Phase::point;
            if (side_->least) next.least = whole_against(place.least, place.n, *side_->least);
            if (side_->most) next.most = whole_against(place.most, place.n, *side_->most);
            next.n = 0;
            edge(state, '.', '.', state_of(next));
        }
        if (exponents_ && dfa.states[state].accepts) exponent(state);
        const bool digits = place.phase == Phase::start ||
                            (place.phase == Phase::whole && place.n < side_->n_whole) ||
                            ((place.phase == Phase::point || place.phase == Phase::fraction) &&
                             place.n < side_->n_fraction);
        if (!digits) return;
        // Digits that lead to the same place share an edge.
        for (char d = '0'; d <= '9';) {
            const Place next = after(place, d);
            char last = d;
            while (last < '9' &&
                   after(place, static_cast<char>(last + 1)).key(false) == next.key(false))
                ++last;
            edge(state, d, last, state_of(next));
            d = static_cast<char>(last + 1);
        }
    }

    Place after(const Place& place, char digit) const {
        Place next = place;
        const bool behind = place.phase == Phase::point || place.phase == Phase::fraction;
        if (place.phase == Phase::start && digit == '0') {
            next.phase = Phase::zero;
            return next;
        }
        next.phase = behind ? Phase::fraction : Phase::whole;
        const auto compare_with = [&](const Mark& mark, int so_far) {
            if (behind) return against(so_far, digit, mark.fraction, place.n);
            // Longer than the bound: decided by the count at the end.
            if (place.n >= mark.whole.size()) return so_far;
            return against(so_far, digit, mark.whole, place.n);
        };
        if (side_->least) next.least = compare_with(*side_->least, place.least);
        if (side_->most) next.most = compare_with(*side_->most, place.most);
        ++next.n;
        divide(next, digit);
        return next;
    }

    void divide(Place& next, char digit) const {
        if (digit == '0' && next.zeros < step_.zeros) {
            ++next.zeros;
            return;
        }
        const auto push = [&](std::uint32_t d) {
            next.rest = (next.rest * 10 + d) % step_.modulus;
        };
        if (digit == '0') {
            push(0);
            return;
        }
        for (; next.zeros > 0; --next.zeros)
            push(0);
        push(static_cast<std::uint32_t>(digit - '0'));
    }

    bool accepts(const Place& place) const {
        if (place.phase == Phase::start || place.phase == Phase::point) return false;
        const bool behind = place.phase == Phase::fraction;
        const auto final = [&](const Mark& mark, int so_far) {
            const int c = behind ? so_far : whole_against(so_far, place.n, mark);
            const std::size_t read = behind ? place.n : 0;
            return c == 0 && mark.fraction.size() > read ? -1 : c;
        };
        if (side_->least) {
            const int c = final(*side_->least, place.least);
            if (c < 0 || (c == 0 && side_->least->exclusive)) return false;
        }
        if (side_->most) {
            const int c = final(*side_->most, place.most);
            if (c > 0 || (c == 0 && side_->most->exclusive)) return false;
        }
        return divides(place, behind ? place.n : 0);
    }

    bool divides(Place place, std::uint32_t n_behind) const {
        if (step_.modulus == 1 && step_.zeros == 0) return true;
        // Places that were not written are zeros; zero itself has no digits to count.
        if (!integer_) {
            for (std::uint32_t i = n_behind; i < side_->n_fraction; ++i)
                divide(place, '0');
        }
        const bool is_zero = place.phase == Phase::zero;
        return place.rest == 0 && (place.zeros == step_.zeros || is_zero);
    }

    std::uint32_t state_of(const Place& place) {
        const auto [it, fresh] = states_.try_emplace(place.key(negative_), 0);
        if (fresh) {
            it->second = new_state(accepts(place));
            todo_.emplace_back(place, it->second);
        }
        return it->second;
    }

    /// e+12, E-7, e05: up to 289, so that no number leaves the range of doubles.
    void exponent(std::uint32_t state) {
        if (exponent_ == 0) {
            exponent_ = new_state(false);
            const std::uint32_t sign = new_state(false);
            const std::uint32_t any = new_state(true); // a last digit may follow
            const std::uint32_t one = new_state(true);
            const std::uint32_t two = new_state(true);
            const std::uint32_t more = new_state(true); // two may follow, read one of them
            const std::uint32_t last = new_state(true);
            edge(exponent_, '+', '+', sign);
            edge(exponent_, '-', '-', sign);
            for (const std::uint32_t s : {exponent_, sign}) {
                edge(s, '0', '0', any);
                edge(s, '1', '1', one);
                edge(s, '2', '2', two);
                edge(s, '3', '9', any);
            }
            edge(any, '0', '9', last);
            edge(one, '0', '9', more);
            edge(two, '0', '8', more);
            edge(two, '9', '9', last);
            edge(more, '0', '9', last);
        }
        edge(state, 'E', 'E', exponent_);
        edge(state, 'e', 'e', exponent_);
    }

    bool integer_;
    Step step_;
    bool exponents_;
    const Side* side_ = nullptr;
    bool negative_ = false;
    std::uint32_t exponent_ = 0; ///< 0: not made yet; state 0 is the start
    std::map<decltype(Place{}.key(false)), std::uint32_t> states_;
    std::vector<std::pair<Place, std::uint32_t>> todo_;
};

/// Digits a side needs so that its bounds can be told apart.
bool widen(Side& side) {
    for (const std::optional<Mark>* mark : {&side.least, &side.most}) {
        if (!*mark) continue;
        side.n_whole = std::max(side.n_whole, static_cast<std::uint32_t>((*mark)->whole.size()));
        side.n_fraction =
            std::max(side.n_fraction, static_cast<std::uint32_t>((*mark)->fraction.size() + 1));
    }
    return side.n_whole <= kMaxNumberDigits && side.n_fraction <= kMaxNumberDigits;
}

/// Magnitudes of one sign; nullopt where it has none.
std::optional<Side> side_of(const NumberRange& range, bool negative) {
    const std::optional<NumberBound>& near = negative ? range.most : range.least;
    const std::optional<NumberBound>& far = negative ? range.least : range.most;
    Side side;
    const bool near_counts = near && !near->value.is_zero() && near->value.negative == negative;
    if (near_counts) {
        side.least = mark_of(*near);
    } else if (negative || (near && near->value.is_zero() && near->exclusive)) {
        side.least = Mark{{}, {}, true};
    }
    if (far) {
        const Decimal& v = far->value;
        if (!v.is_zero() && v.negative != negative) return std::nullopt;
        if (v.is_zero() && (negative || far->exclusive)) return std::nullopt;
        side.most = mark_of(*far);
    }
    return side;
}

/// The step of those multiples that are integers.
Decimal among_integers(const Decimal& step) {
    if (step.is_integer() || step.digits.size() > 17) return step;
    std::uint64_t digits = std::stoull(step.digits);
    for (std::int32_t e = step.exponent; e < 0 && digits % 2 == 0; ++e)
        digits /= 2;
    for (std::int32_t e = step.exponent; e < 0 && digits % 5 == 0; ++e)
        digits /= 5;
    return Decimal::parse(std::to_string(digits));
}

Result<Step> step_of(const Decimal& step, std::uint32_t n_fraction) {
    const std::int64_t zeros = std::int64_t{step.exponent} + n_fraction;
    std::uint64_t modulus = 0;
    if (step.digits.size() > 6 || zeros < 0 || zeros > kMaxNumberDigits) {
        return Error{Code::too_large, "multipleOf has too many digits"};
    }
    for (const char c : step.digits)
        modulus = modulus * 10 + static_cast<std::uint64_t>(c - '0');
    if (modulus > kMaxMultiple) {
        return Error{Code::too_large, "multipleOf is beyond " + std::to_string(kMaxMultiple) +
                                          " times a power of ten"};
    }
    return Step{static_cast<std::uint32_t>(modulus), static_cast<std::uint32_t>(zeros)};
}

} // namespace

Result<ByteDfa> number_dfa(const NumberRange& range) {
    NumberRange asked = range;
    Step step;
    std::uint32_t n_fraction = kNumberDigits;
    if (asked.step) {
        // Of multiples only so many places can be other than zero.
        if (asked.integer) asked.step = among_integers(*asked.step);
        asked.integer = asked.step->is_integer();
        n_fraction = asked.integer ? 0 : static_cast<std::uint32_t>(-asked.step->exponent);
        if (n_fraction > kMaxNumberDigits) {
            return Error{Code::too_large, "multipleOf has too many digits"};
        }
        BLOOM_TRY(step, step_of(*asked.step, n_fraction));
    }
    Maker maker(asked, step, !asked.integer && asked.free());
    maker.new_state(false);
    for (const bool negative : {false, true}) {
        std::optional<Side> side = side_of(asked, negative);
        if (!side) continue;
        if (!widen(*side)) return Error{Code::too_large, "a bound has too many digits"};
        if (asked.step) side->n_fraction = n_fraction;
        std::uint32_t at = 0;
        if (negative) {
            at = maker.new_state(false);
            maker.edge(0, '-', '-', at);
        }
        if (!maker.add(*side, negative, at)) {
            return Error{Code::too_large, "the range of numbers needs too many states"};
        }
    }
    maker.finish();
    return std::move(maker.dfa);
}

} // namespace bloom::text::schema
