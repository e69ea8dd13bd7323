#include "net/tls_layer.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#include <bloom/base/check.hpp>
#include <bloom/rt/shard.hpp>

namespace bloom::net {

std::string take_ssl_error(const std::string& what) {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
    return what + ": " + (reason == nullptr ? "no reason given" : reason);
}

TlsLayer::TlsLayer(std::unique_ptr<SSL, SslFree> ssl, rt::RecvSource& source, rt::Handle socket)
    : ssl_(std::move(ssl)), in_(BIO_new(BIO_s_mem())), out_(BIO_new(BIO_s_mem())), source_(source),
      socket_(socket) {
    BLOOM_CHECK(in_ != nullptr && out_ != nullptr);
    SSL_set_bio(ssl_.get(), in_, out_);
}

Error TlsLayer::failure(const std::string& what) const {
    const long verified = SSL_get_verify_result(ssl_.get());
    if (verified != X509_V_OK) {
        ERR_clear_error();
        return Error(Code::permission_denied, what + ": the peer's certificate is not accepted: " +
                                                  X509_verify_cert_error_string(verified));
    }
    return Error(Code::protocol_error, take_ssl_error(what));
}

/// Sends what OpenSSL has produced. One at a time: a reader's answers and a writer's records keep
/// their order.
rt::Task<Result<>> TlsLayer::flush(rt::StopToken stop) {
    BLOOM_CO_TRY(const auto permit, co_await sending_.acquire(stop));
    if (broken_) co_return Error(Code::closed, "TLS: an earlier send was cut short");
    while (has_output()) {
        cipher_.resize(BIO_ctrl_pending(out_));
        const int n = BIO_read(out_, cipher_.data(), static_cast<int>(cipher_.size()));
        BLOOM_CHECK(n == static_cast<int>(cipher_.size()));
        Result<> sent = co_await rt::send_all(socket_, ByteSpan(cipher_), stop);
        broken_ = !sent.has_value();
        BLOOM_CO_OK(std::move(sent));
    }
    co_return Result<>();
}

/// Waits for ciphertext and gives it to OpenSSL.
rt::Task<Result<>> TlsLayer::receive(rt::StopToken stop) {
    BLOOM_CO_TRY(const rt::Chunk chunk, co_await source_.recv(stop));
    if (chunk.empty())
        co_return Error(Code::truncated, "TLS: the connection ended without close_notify");
    const int n = BIO_write(in_, chunk.bytes().data(), static_cast<int>(chunk.size()));
    BLOOM_CHECK(n == static_cast<int>(chunk.size()));
    co_return Result<>();
}

rt::Task<Result<>> TlsLayer::handshake(rt::StopToken stop) {
    for (;;) {
        ERR_clear_error();
        const int rc = SSL_do_handshake(ssl_.get());
        const int reason = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl_.get(), rc);
        if (rc != 1 && reason != SSL_ERROR_WANT_READ) {
            Error error = failure("TLS handshake");
            static_cast<void>(co_await flush(stop)); // the alert tells the peer why
            co_return std::move(error);
        }
        BLOOM_CO_OK(co_await flush(stop));
        if (rc == 1) co_return Result<>();
        BLOOM_CO_OK(co_await receive(stop));
    }
}

rt::Task<Result<rt::Chunk>> TlsLayer::recv(rt::StopToken stop) {
    for (;;) {
        rt::Chunk chunk = rt::Shard::current().driver().heap_chunks().allocate();
        std::size_t n = 0;
        ERR_clear_error();
        const int rc = SSL_read_ex(ssl_.get(), chunk.node()->data, chunk.node()->capacity, &n);
        if (rc == 1) {
            chunk.node()->size = static_cast<std::uint32_t>(n);
            co_return chunk;
        }
        const int reason = SSL_get_error(ssl_.get(), rc);
        if (reason == SSL_ERROR_ZERO_RETURN) co_return rt::Chunk();
        if (reason != SSL_ERROR_WANT_READ) {
            Error error = failure("TLS");
            static_cast<void>(co_await flush(stop));
            co_return std::move(error);
        }
        chunk.reset();
        // Reading may owe the peer an answer (key update).
        if (has_output()) BLOOM_CO_OK(co_await flush(stop));
        BLOOM_CO_OK(co_await receive(stop));
    }
}

Result<> TlsLayer::encrypt(const void* data, std::size_t size) {
    if (size == 0) return {};
    std::size_t n = 0;
    ERR_clear_error();
    // A memory BIO takes everything, so this never has to be repeated.
    if (SSL_write_ex(ssl_.get(), data, size, &n) != 1) return failure("TLS write");
    BLOOM_CHECK(n == size);
    return {};
}

rt::Task<Result<>> TlsLayer::send_all(std::span<const iovec> parts, rt::StopToken stop) {
    // Small parts (a status line, headers, an event) share a record.
    staging_.clear();
    for (const iovec& part : parts) {
        ByteSpan left(static_cast<const std::uint8_t*>(part.iov_base), part.iov_len);
        while (!left.empty()) {
            const std::size_t n = std::min(left.size(), kRecordBytes - staging_.size());
            staging_.insert(staging_.end(), left.begin(),
                            left.begin() + static_cast<std::ptrdiff_t>(n));
            left = left.subspan(n);
            if (staging_.size() < kRecordBytes) continue;
            BLOOM_CO_OK(encrypt(staging_.data(), staging_.size()));
            staging_.clear();
            if (BIO_ctrl_pending(out_) >= kFlushBytes) BLOOM_CO_OK(co_await flush(stop));
        }
    }
    BLOOM_CO_OK(encrypt(staging_.data(), staging_.size()));
    co_return co_await flush(stop);
}

rt::Task<Result<>> TlsLayer::finish(rt::StopToken stop) {
    ERR_clear_error();
    if (SSL_shutdown(ssl_.get()) < 0) co_return failure("TLS shutdown");
    co_return co_await flush(stop);
}

std::string_view TlsLayer::alpn() const noexcept {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    return {reinterpret_cast<const char*>(name), size};
}

} // namespace bloom::net
