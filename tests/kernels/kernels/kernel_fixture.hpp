#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/half.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/layout.hpp"
#include <bloom/base/check.hpp>
#include <bloom/base/rng.hpp>

namespace bloom::kernels::test {

/// n values of T that end exactly at an unreadable page: reading or writing one byte too far dies.
template <class T>
class Guarded {
public:
    explicit Guarded(std::size_t n, T value = T{}) : n_(n) {
        const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
        const std::size_t used = (n * sizeof(T) + page - 1) / page * page;
        bytes_ = used + page;
        void* base =
            mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        BLOOM_CHECK(base != MAP_FAILED);
        base_ = static_cast<std::uint8_t*>(base);
        BLOOM_CHECK(mprotect(base_ + used, page, PROT_NONE) == 0);
        data_ = reinterpret_cast<T*>(base_ + used - n * sizeof(T));
        for (std::size_t i = 0; i < n; ++i)
            std::memcpy(data_ + i, &value, sizeof value);
    }

    Guarded(Guarded&& o) noexcept
        : n_(o.n_), bytes_(o.bytes_), base_(std::exchange(o.base_, nullptr)), data_(o.data_) {}

    Guarded& operator=(Guarded&&) = delete;

    ~Guarded() {
        if (base_ != nullptr) munmap(base_, bytes_);
    }

    T* data() { return data_; }

    const T* data() const { return data_; }

    std::size_t size() const { return n_; }

    T& operator[](std::size_t i) { return data_[i]; }

    const T& operator[](std::size_t i) const { return data_[i]; }

private:
    std::size_t n_;
    std::size_t bytes_ = 0;
    std::uint8_t* base_ = nullptr;
    T* data_ = nullptr;
};

/// Roughly normal with standard deviation 1: twelve uniforms.
inline float normal(Rng& rng) {
    double sum = -6.0;
    for (int i = 0; i < 12; ++i)
        sum += rng.uniform();
    return static_cast<float>(sum);
}

inline void put_value(WeightFormat format, std::uint8_t* p, float v) {
    if (format == WeightFormat::f32 || format == WeightFormat::affine8_f32) {
        std::memcpy(p, &v, 4);
        return;
    }
    const bool bf16 = format == WeightFormat::bf16 || format == WeightFormat::affine8_bf16;
    const std::uint16_t h = bf16 ? f32_to_bf16(v) : f32_to_f16(v);
    std::memcpy(p, &h, 2);
}

/// A matrix in file order, every tensor right before a guard page.
struct TestMatrix {
    SourceMatrix src;
    Guarded<std::uint8_t> codes;
    Guarded<std::uint8_t> scales;
    Guarded<std::uint8_t> biases;

    std::size_t file_bytes() const {
        return static_cast<std::size_t>(src.rows * (src.k / group_size(src.format))) *
               row_unit_bytes(src.format);
    }

    void point() {
        src.codes = codes.data();
        src.scales = scales.data();
        src.biases = biases.data();
    }

    /// Sets code i (q8_0: signed) of the whole matrix.
    void set_code(std::int64_t at, int code) {
        if (src.format == WeightFormat::q8_0) {
            codes[static_cast<std::size_t>(at / 32 * 34 + 2 + at % 32)] =
                static_cast<std::uint8_t>(code);
        } else {
            codes[static_cast<std::size_t>(at)] = static_cast<std::uint8_t>(code);
        }
    }

    void set_scale(std::int64_t group, float scale, float bias) {
        if (src.format == WeightFormat::q8_0) {
            put_value(src.format, &codes[static_cast<std::size_t>(group * 34)], scale);
            return;
        }
        const std::size_t bytes = group_extra_bytes(src.format) / 2;
        put_value(src.format, &scales[static_cast<std::size_t>(group) * bytes], scale);
        put_value(src.format, &biases[static_cast<std::size_t>(group) * bytes], bias);
    }
};

inline TestMatrix make_matrix(WeightFormat format, std::int64_t rows, std::int64_t k, Rng& rng) {
    const std::int64_t groups = rows * (k / group_size(format));
    const bool q8_0 = format == WeightFormat::q8_0;
    const bool quantised = is_quantised(format);
    const std::size_t code_bytes =
        q8_0 ? static_cast<std::size_t>(groups) * 34
             : static_cast<std::size_t>(rows * k) * (quantised ? 1 : plain_bytes(format));
    const std::size_t scale_bytes =
        q8_0 || !quantised ? 0 : static_cast<std::size_t>(groups) * group_extra_bytes(format) / 2;
    // One byte of slack at the end moves the start to an odd address.
    TestMatrix m{{format, rows, k, nullptr, nullptr, nullptr},
                 Guarded<std::uint8_t>(code_bytes),
                 Guarded<std::uint8_t>(scale_bytes),
                 Guarded<std::uint8_t>(scale_bytes)};
    m.point();
    if (!quantised) {
        const std::size_t bytes = plain_bytes(format);
        for (std::int64_t i = 0; i < rows * k; ++i) {
            put_value(format, m.codes.data() + static_cast<std::size_t>(i) * bytes, normal(rng));
        }
        return m;
    }
    for (std::int64_t i = 0; i < rows * k; ++i) {
        m.set_code(i, q8_0 ? static_cast<int>(rng.below(255)) - 127
                           : static_cast<int>(rng.below(256)));
    }
    for (std::int64_t g = 0; g < groups; ++g) {
        const float scale = normal(rng) * 0.01F;
        m.set_scale(g, scale, -128.0F * scale + 0.1F * normal(rng));
    }
    return m;
}

/// A packed copy of a matrix, 64-byte aligned and followed by a guard page.
class Packed {
public:
    Packed(const KernelTable& table, const SourceMatrix& src)
        : bytes_(table.packed_bytes(src.format, src.rows, src.k)),
          buffer_((bytes_ + 63) / 64 * 64, 0xee) {
        table.pack(src, 0, src.rows, buffer_.data());
        matrix_ = {src.format, src.rows, src.k, buffer_.data()};
    }

    const PackedMatrix& matrix() const { return matrix_; }

    std::size_t bytes() const { return bytes_; }

private:
    std::size_t bytes_;
    Guarded<std::uint8_t> buffer_;
    PackedMatrix matrix_{};
};

/// Quantised activations in exactly sized guarded buffers.
class Activations {
public:
    Activations(const KernelTable& table, WeightFormat format, const float* x, std::int64_t n,
                std::int64_t k)
        : groups_(k / group_size(format)), stride_((k + 63) / 64 * 64),
          q_(static_cast<std::size_t>((n - 1) * stride_ + k)),
          scale_(static_cast<std::size_t>(n * groups_)),
          init_(static_cast<std::size_t>(n * groups_)),
          sum_(static_cast<std::size_t>(n * groups_)) {
        table.quantise(format, x, k, n, k, view());
    }

    QuantisedActivations view() {
        return {q_.data(), scale_.data(), init_.data(), sum_.data(), stride_, groups_};
    }

    /// The same activations from token `first` on.
    QuantisedActivations from(std::int64_t first) {
        return {q_.data() + first * stride_,
                scale_.data() + first * groups_,
                init_.data() + first * groups_,
                sum_.data() + first * groups_,
                stride_,
                groups_};
    }

private:
    std::int64_t groups_;
    std::int64_t stride_;
    Guarded<std::int8_t> q_;
    Guarded<float> scale_;
    Guarded<std::int32_t> init_;
    Guarded<float> sum_;
};

inline Guarded<float> random_floats(std::size_t n, Rng& rng) {
    Guarded<float> v(n);
    for (std::size_t i = 0; i < n; ++i)
        v[i] = normal(rng);
    return v;
}

/// Half the distance between 1 and the next f32: the unit of all error bounds here.
inline constexpr double kUnit = 0x1p-24;

/// Tables that this machine can run.
inline std::vector<const KernelTable*> runnable_tables() {
    std::vector<const KernelTable*> tables;
    const std::uint32_t have = detect_cpu_features();
    for (const KernelTable* const* t = all_tables(); *t != nullptr; ++t) {
        if (((*t)->required & ~have) == 0) tables.push_back(*t);
    }
    return tables;
}

/// Fixture of every test that runs once for each of them.
class TableTest : public testing::TestWithParam<const KernelTable*> {
protected:
    const KernelTable& table() const { return *GetParam(); }
};

inline std::string table_name(const testing::TestParamInfo<const KernelTable*>& info) {
    return info.param->isa;
}

} // namespace bloom::kernels::test

#define BLOOM_FOR_EACH_TABLE(suite)                                                                \
    INSTANTIATE_TEST_SUITE_P(Tables, suite,                                                        \
                             testing::ValuesIn(::bloom::kernels::test::runnable_tables()),         \
                             ::bloom::kernels::test::table_name)
