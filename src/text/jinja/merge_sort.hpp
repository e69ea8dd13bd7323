#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

namespace bloom::text::jinja {

/// Stable bottom-up merge sort that stays within bounds whatever `less` answers. Template values
/// can hold a NaN and comparisons can fail half way, and then there is no order to rely on.
template <class T, class Less>
void merge_sort(std::vector<T>& items, Less less) {
    std::vector<T> merged(items.size());
    for (std::size_t run = 1; run < items.size(); run *= 2) {
        for (std::size_t begin = 0; begin < items.size(); begin += 2 * run) {
            const std::size_t middle = std::min(begin + run, items.size());
            const std::size_t end = std::min(begin + 2 * run, items.size());
            std::size_t left = begin;
            std::size_t right = middle;
            for (std::size_t out = begin; out < end; ++out) {
                const bool take_right =
                    left == middle || (right < end && less(items[right], items[left]));
                merged[out] = std::move(items[take_right ? right++ : left++]);
            }
        }
        items.swap(merged);
    }
}

} // namespace bloom::text::jinja
