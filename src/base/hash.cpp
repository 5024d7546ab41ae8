#include "lockstep/base/hash.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "lockstep/base/error.h"
#include "lockstep/base/file.h"

namespace lockstep {

struct Sha256::Context {
  Context() : evp(EVP_MD_CTX_new()) {
    LOCKSTEP_CHECK(evp != nullptr, "no memory for a SHA-256 context");
    start();
  }
  ~Context() { EVP_MD_CTX_free(evp); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  void start() const {
    LOCKSTEP_CHECK(EVP_DigestInit_ex(evp, EVP_sha256(), nullptr) == 1, "SHA-256 cannot be started");
  }
  EVP_MD_CTX* evp;
};

Sha256::Sha256() : context_(std::make_unique<Context>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

Sha256& Sha256::update(std::span<const std::byte> bytes) {
  LOCKSTEP_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1,
                 "SHA-256 cannot take {} bytes", bytes.size());
  return *this;
}

Sha256Digest Sha256::finish() {
  Sha256Digest digest{};
  unsigned length = 0;
  LOCKSTEP_CHECK(EVP_DigestFinal_ex(context_->evp, reinterpret_cast<unsigned char*>(digest.data()),
                                    &length) == 1 &&
                     length == digest.size(),
                 "SHA-256 cannot be finished");
  context_->start();
  return digest;
}

Sha256Digest sha256(std::span<const std::byte> bytes) { return Sha256().update(bytes).finish(); }

std::string to_hex(const Sha256Digest& digest) {
  std::string text;
  text.reserve(2 * digest.size());
  for (const std::byte b : digest) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[std::to_integer<unsigned>(b) >> 4];
    text += kDigits[std::to_integer<unsigned>(b) & 15];
  }
  return text;
}

std::string sha256_hex(std::span<const std::byte> bytes) { return to_hex(sha256(bytes)); }

std::string sha256_hex(std::string_view text) { return sha256_hex(std::as_bytes(std::span(text))); }

std::string sha256_file(const std::filesystem::path& path) {
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) {
    fail(ExitCode::kInputMissing, "{}: cannot be opened: {}", path.string(), errno_text(errno));
  }
  Sha256 hash;
  std::vector<std::byte> buffer(std::size_t{1} << 16);
  while (true) {
    const ssize_t got = ::read(file.get(), buffer.data(), buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      fail(ExitCode::kInputOutput, "{}: cannot be read: {}", path.string(), errno_text(errno));
    }
    if (got == 0) return to_hex(hash.finish());
    hash.update(std::span(buffer).first(static_cast<std::size_t>(got)));
  }
}

}  // namespace lockstep
