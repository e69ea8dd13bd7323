#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <openssl/ssl.h>

#include <bloom/net/stream.hpp>
#include <bloom/rt/semaphore.hpp>

namespace bloom::net {

struct SslFree {
    void operator()(SSL* ssl) const noexcept { SSL_free(ssl); }

    void operator()(SSL_CTX* context) const noexcept { SSL_CTX_free(context); }
};

/// Takes the oldest reason off OpenSSL's error queue as a sentence, and empties the queue.
std::string take_ssl_error(const std::string& what);

/// TLS between a socket and its user, over memory BIOs: OpenSSL never sees the descriptor, so that
/// every wait is one of ours. Belongs to the Stream whose source it reads.
class TlsLayer final : public StreamLayer {
public:
    TlsLayer(std::unique_ptr<SSL, SslFree> ssl, rt::RecvSource& source, rt::Handle socket);

    rt::Task<Result<>> handshake(rt::StopToken stop);
    rt::Task<Result<rt::Chunk>> recv(rt::StopToken stop) override;
    rt::Task<Result<>> send_all(std::span<const iovec> parts, rt::StopToken stop) override;
    rt::Task<Result<>> finish(rt::StopToken stop) override;
    std::string_view alpn() const noexcept override;

private:
    // Flushed once this much ciphertext has gathered, so that a large send needs bounded memory.
    static constexpr std::size_t kFlushBytes = 64 * 1024;
    // The plaintext of one record, RFC 8446 5.1.
    static constexpr std::size_t kRecordBytes = 16 * 1024;

    bool has_output() const noexcept { return BIO_ctrl_pending(out_) > 0; }

    rt::Task<Result<>> flush(rt::StopToken stop);
    rt::Task<Result<>> receive(rt::StopToken stop);
    Result<> encrypt(const void* data, std::size_t size);
    Error failure(const std::string& what) const;

    std::unique_ptr<SSL, SslFree> ssl_;
    BIO* in_;  // owned by ssl_
    BIO* out_; // owned by ssl_
    rt::RecvSource& source_;
    rt::Handle socket_;
    rt::Semaphore sending_{1};
    std::vector<std::uint8_t> cipher_;
    std::vector<std::uint8_t> staging_;
    bool broken_ = false; ///< a flush failed half-way: no record can follow
};

} // namespace bloom::net
