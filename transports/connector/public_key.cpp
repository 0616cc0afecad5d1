#include "transports/connector/public_key.h"

#include <openssl/evp.h>

#include <bit>

#include "core/text.h"
#include "transports/base64.h"
#include "transports/connector/wire.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kRsaBitsMin = 1024;  // OpenSSH takes no shorter one
constexpr std::size_t kBitsMax = 16384;    // nor a longer one

std::size_t bits_of(Bytes magnitude) {
  return magnitude.empty() ? 0 : magnitude.size() * 8 - std::size_t(std::countl_zero(magnitude[0]));
}

bool is_rsa(WireReader& in) {
  const std::size_t exponent = bits_of(in.mpint()), modulus = bits_of(in.mpint());
  return exponent > 0 && exponent <= kBitsMax && modulus >= kRsaBitsMin && modulus <= kBitsMax;
}

bool is_dsa(WireReader& in) {
  for (int i = 0; i < 4; ++i) {
    const std::size_t bits = bits_of(in.mpint());
    if (bits == 0 || bits > kBitsMax) return false;
  }
  return true;
}

// An uncompressed point, whether it lies on the curve or not: nobody can sign for one that does not.
bool is_ecdsa(WireReader& in, std::string_view curve, std::size_t coordinate_bytes) {
  if (in.text() != curve) return false;
  const Bytes point = in.string();
  return point.size() == 1 + 2 * coordinate_bytes && point[0] == 4;
}

struct Type {
  std::string_view name;
  bool (*is_good)(WireReader& in);
  bool has_application;  // of a key in a security token: whom it is for
};

constexpr Type kTypes[] = {
    {"ssh-ed25519", [](WireReader& in) { return in.string().size() == 32; }, false},
    {"ecdsa-sha2-nistp256", [](WireReader& in) { return is_ecdsa(in, "nistp256", 32); }, false},
    {"ecdsa-sha2-nistp384", [](WireReader& in) { return is_ecdsa(in, "nistp384", 48); }, false},
    {"ecdsa-sha2-nistp521", [](WireReader& in) { return is_ecdsa(in, "nistp521", 66); }, false},
    {"ssh-rsa", is_rsa, false},
    {"ssh-dss", is_dsa, false},
    {"sk-ssh-ed25519@openssh.com", [](WireReader& in) { return in.string().size() == 32; }, true},
    {"sk-ecdsa-sha2-nistp256@openssh.com", [](WireReader& in) { return is_ecdsa(in, "nistp256", 32); }, true},
};

bool is_space(char c) {
  return c == ' ' || c == '\t';
}

std::string_view take_word(std::string_view& line) {
  while (!line.empty() && is_space(line[0])) line.remove_prefix(1);
  std::size_t end = 0;
  while (end < line.size() && !is_space(line[end])) ++end;
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end);
  return word;
}

}  // namespace

std::string_view public_key_type(Bytes blob) {
  WireReader in(blob);
  const std::string_view name = in.text();
  for (const Type& type : kTypes) {
    if (name != type.name) continue;
    const bool good = type.is_good(in);
    if (type.has_application) in.string();
    return good && in.finish() ? type.name : std::string_view();
  }
  return {};
}

std::string fingerprint(Bytes blob) {
  std::uint8_t digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (EVP_Digest(blob.data(), blob.size(), digest, &size, EVP_sha256(), nullptr) != 1) return "SHA256:?";
  return cat("SHA256:", encode_base64({digest, size}, Padding::kWithout));
}

std::optional<Buffer> parse_public_key(std::string_view line) {
  std::string_view name = take_word(line);
  std::optional<Buffer> blob = decode_base64(take_word(line));
  if (!blob) return std::nullopt;
  // Names of how RSA keys sign, which OpenSSH takes for the key's.
  if (name == "rsa-sha2-256" || name == "rsa-sha2-512") name = "ssh-rsa";
  const std::string_view type = public_key_type(*blob);
  if (type.empty() || name != type) return std::nullopt;
  return blob;
}

std::string public_key_text(Bytes blob) {
  return cat(public_key_type(blob), " ", encode_base64(blob));
}

}  // namespace banyan::connector
