// Goal: every private key that ssh-keygen writes and that libssh2 can do with is read, and signs what OpenSSH
// believes; every other one is refused with its reason. Method: ssh-keygen writes the keys, and checks our
// signatures; then the files are damaged.
#include "transports/connector/private_key.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <optional>

#include "tests/transports/ssh_tools.h"
#include "transports/base64.h"
#include "transports/connector/bcrypt.h"
#include "transports/connector/openssh_key.h"
#include "transports/connector/public_key.h"
#include "transports/connector/wire.h"

using namespace banyan;
using namespace banyan::connector;
using test::SshFolder;

namespace {

constexpr const char* kTypes[] = {"ed25519", "ecdsa -b 256", "ecdsa -b 384", "ecdsa -b 521", "rsa -b 2048"};

// With its public half in key.pub.
std::string make_key(const SshFolder& folder, std::string_view options, std::string_view passphrase = "") {
  folder.must_run(
      cat("rm -f key key.pub; ssh-keygen -q -t ", options, " -N '", passphrase, "' -C 'a comment' -f key"));
  return folder.read("key");
}

Buffer public_half(const SshFolder& folder) {
  const std::optional<Buffer> blob = parse_public_key(folder.read("key.pub"));
  REQUIRE(blob);
  return *blob;
}

// `key` is that of key.pub.
void check_key(const SshFolder& folder, const PrivateKey& key) {
  CHECK(key.public_blob() == public_half(folder));
  CHECK(key.type() == public_key_type(key.public_blob()));
  for (const std::string_view algorithm : key.algorithms()) {
    CAPTURE(algorithm);
    CHECK(folder.believes(key.public_blob(), algorithm, *key.sign(algorithm, folder.to_sign())));
  }
}

bool mentions(const Error& error, std::string_view text) {
  return error.text.find(text) != std::string::npos || error.remedy.find(text) != std::string::npos;
}

}  // namespace

TEST_CASE("a key of any type and format signs what OpenSSH believes") {
  SshFolder folder;
  for (const std::string type : kTypes) {
    for (const char* format : {"", " -m PEM", " -m PKCS8"}) {
      CAPTURE(type, format);
      const std::string text = make_key(folder, type + format);
      const Result<PrivateKeyForm> form = look_at_private_key(as_bytes(text), "key");
      REQUIRE(form);
      CHECK_FALSE(form->encrypted);
      if (form->openssh) CHECK(form->public_blob == public_half(folder));
      const Result<PrivateKey> key = parse_private_key(as_bytes(text), "key", "");
      INFO((key ? "" : key.error().text));
      REQUIRE(key);
      check_key(folder, *key);
    }
  }
}

TEST_CASE("an encrypted PEM key opens with its passphrase and with no other") {
  SshFolder folder;
  for (const std::string type : {"ecdsa -b 256", "ecdsa -b 521", "rsa -b 2048"}) {
    for (const char* format : {" -m PEM", " -m PKCS8"}) {
      CAPTURE(type, format);
      const std::string text = make_key(folder, type + format, "open sesame");
      const Result<PrivateKeyForm> form = look_at_private_key(as_bytes(text), "key");
      REQUIRE(form);
      CHECK(form->encrypted);
      CHECK_FALSE(form->openssh);
      for (const std::string& wrong : {std::string(), std::string("open sesam"), std::string(5000, 'x')})
        CHECK_FALSE(parse_private_key(as_bytes(text), "key", wrong));
      const Result<PrivateKey> key = parse_private_key(as_bytes(text), "key", "open sesame");
      INFO((key ? "" : key.error().text));
      REQUIRE(key);
      check_key(folder, *key);
    }
  }
}

TEST_CASE("an ed25519 key in PKCS8, which only openssl writes, is read, encrypted or not") {
  SshFolder folder;
  folder.must_run("openssl genpkey -algorithm ed25519 -out plain");
  folder.must_run("openssl pkcs8 -topk8 -in plain -out encrypted -passout pass:secret");
  const std::string plain = folder.read("plain"), encrypted = folder.read("encrypted");
  const Result<PrivateKey> one = parse_private_key(as_bytes(plain), "key", "");
  const Result<PrivateKey> two = parse_private_key(as_bytes(encrypted), "key", "secret");
  REQUIRE(one);
  REQUIRE(two);
  CHECK(one->type() == "ssh-ed25519");
  CHECK(one->public_blob() == two->public_blob());
  CHECK(*one->sign("ssh-ed25519", as_bytes("x")) == *two->sign("ssh-ed25519", as_bytes("x")));
  CHECK(one->sign("ssh-ed25519", as_bytes("x"))->size() == 64);
}

TEST_CASE("an encrypted key in OpenSSH's format opens with its passphrase and with no other") {
  SshFolder folder;
  for (const std::string type : kTypes) {
    CAPTURE(type);
    const std::string text = make_key(folder, type + " -a 1", "open sesame");
    const Result<PrivateKeyForm> form = look_at_private_key(as_bytes(text), "my_key");
    REQUIRE(form);
    CHECK(form->openssh);
    CHECK(form->encrypted);
    CHECK(form->public_blob == public_half(folder));
    const Result<PrivateKey> key = parse_private_key(as_bytes(text), "my_key", "open sesame");
    REQUIRE(key);
    CHECK(key->public_blob() == public_half(folder));
    const Result<Buffer> signature = key->sign(key->algorithms().front(), folder.to_sign());
    REQUIRE(signature);
    CHECK(folder.believes(key->public_blob(), key->algorithms().front(), *signature));
    for (const std::string_view wrong : {"", "open sesam", "open sesame "}) {
      const Result<PrivateKey> none = parse_private_key(as_bytes(text), "my_key", wrong);
      REQUIRE_FALSE(none);
      CHECK(mentions(none.error(), "my_key"));
      CHECK(mentions(none.error(), "passphrase"));
    }
  }
}

TEST_CASE("a key that asks for more rounds than anybody would wait for is refused before the first") {
  SshFolder folder;
  const std::string text = make_key(folder, "ed25519 -a 1", "open sesame");
  const std::optional<Secret> decoded = decode_openssh_key(as_bytes(text));
  REQUIRE(decoded);
  // The rounds stand behind the method, two lengths and 16 bytes of salt.
  const std::size_t at = as_text(decoded->bytes()).find("bcrypt") + 6 + 4 + 4 + 16;
  for (const std::uint32_t rounds : {kBcryptRoundsMax + 1, 1u << 31, ~0u}) {
    CAPTURE(rounds);
    Buffer changed(decoded->bytes().begin(), decoded->bytes().end());
    REQUIRE(changed[at + 3] == 1);
    for (int i = 0; i < 4; ++i) changed[at + std::size_t(i)] = std::uint8_t(rounds >> (24 - 8 * i));
    const Result<PrivateKey> key = parse_openssh_key(changed, "my_key", "open sesame");
    REQUIRE_FALSE(key);
    CHECK(mentions(key.error(), "the key my_key would take too long to open"));
    CHECK(mentions(key.error(), "ssh-keygen -p -a 100"));
  }
}

TEST_CASE("every cipher that ssh-keygen encrypts a key with is known, or refused with what to do") {
  SshFolder folder;
  for (const std::string cipher : {"aes128-ctr", "aes192-ctr", "aes256-ctr", "aes128-cbc", "aes192-cbc",
                                   "aes256-cbc", "aes128-gcm@openssh.com", "aes256-gcm@openssh.com"}) {
    CAPTURE(cipher);
    const std::string text = make_key(folder, "ecdsa -b 384 -a 2 -Z " + cipher, "open sesame");
    const Result<PrivateKey> key = parse_private_key(as_bytes(text), "key", "open sesame");
    REQUIRE(key);
    CHECK(key->public_blob() == public_half(folder));
    CHECK_FALSE(parse_private_key(as_bytes(text), "key", "another"));
  }
  const std::string text = make_key(folder, "ed25519 -a 1 -Z chacha20-poly1305@openssh.com", "open sesame");
  const Result<PrivateKey> none = parse_private_key(as_bytes(text), "key", "open sesame");
  REQUIRE_FALSE(none);
  CHECK(mentions(none.error(), "ssh-keygen -p -Z"));
}

TEST_CASE("a key signs only with algorithms of its type, and RSA never with SHA-1") {
  SshFolder folder;
  const std::string rsa = make_key(folder, "rsa -b 2048");
  const Result<PrivateKey> key = parse_private_key(as_bytes(rsa), "key", "");
  REQUIRE(key);
  CHECK(key->algorithms() == std::vector<std::string_view>{"rsa-sha2-512", "rsa-sha2-256"});
  CHECK_FALSE(key->sign("ssh-rsa", as_bytes("x")));
  CHECK_FALSE(key->sign("ssh-ed25519", as_bytes("x")));
  CHECK(key->sign("rsa-sha2-256", as_bytes("x"))->size() == 256);
  CHECK(*key->sign("rsa-sha2-256", as_bytes("x")) != *key->sign("rsa-sha2-512", as_bytes("x")));
}

TEST_CASE("a signature with a changed bit is not believed") {
  SshFolder folder;
  const std::string text = make_key(folder, "ecdsa -b 256");
  const Result<PrivateKey> key = parse_private_key(as_bytes(text), "key", "");
  REQUIRE(key);
  Buffer signature = *key->sign(key->type(), folder.to_sign());
  CHECK(folder.believes(key->public_blob(), key->type(), signature));
  signature[20] ^= 1;
  CHECK_FALSE(folder.believes(key->public_blob(), key->type(), signature));
}

TEST_CASE("a file that others may read is refused, and the remedy is named") {
  SshFolder folder;
  make_key(folder, "ed25519");
  CHECK(read_private_key(folder.path("key")));
  for (const mode_t mode : {0640, 0604, 0660, 0610}) {
    REQUIRE(::chmod(folder.path("key").c_str(), mode) == 0);
    const Result<Secret> secret = read_private_key(folder.path("key"));
    REQUIRE_FALSE(secret);
    CHECK(mentions(secret.error(), cat("chmod 600 ", folder.path("key"))));
  }
}

TEST_CASE("what is no key file is refused before it is read") {
  SshFolder folder;
  REQUIRE(::mkfifo(folder.path("pipe").c_str(), 0600) == 0);
  folder.write("large", std::string(kKeyFileMax + 1, 'x'));
  for (const char* name : {"pipe", "large", "missing", "."}) {
    CAPTURE(name);
    if (std::string_view(name) == ".") REQUIRE(::chmod(folder.path(name).c_str(), 0700) == 0);
    const Result<Secret> secret = read_private_key(folder.path(name));
    REQUIRE_FALSE(secret);
    CHECK(mentions(secret.error(), folder.path(name)));
  }
}

TEST_CASE("what is no private key of ours is refused with its reason") {
  SshFolder folder;
  make_key(folder, "ed25519");
  folder.must_run(
      "openssl genpkey -algorithm x25519 -out x25519; openssl ecparam -genkey -name secp256k1 -out koblitz");
  folder.must_run("openssl genrsa -out short 768 2>&1 || true; ssh-keygen -q -t dsa -N '' -f dsa");
  folder.must_run(
      "ssh-keygen -q -t dsa -m PEM -N '' -f dsa_pem; openssl ecparam -genkey -name prime256v1 -out "
      "parameters");
  const auto refusal = [&](std::string_view name) {
    const std::string text = folder.read(name);
    const Result<PrivateKey> key = parse_private_key(as_bytes(text), name, "");
    REQUIRE_FALSE(key);
    return key.error();
  };
  CHECK(mentions(refusal("key.pub"), "is a public key"));
  CHECK(mentions(refusal("x25519"), "of no kind that we use"));
  CHECK(mentions(refusal("koblitz"), "of no kind that we use"));
  CHECK(mentions(refusal("dsa"), "ssh-dss"));
  CHECK(mentions(refusal("dsa_pem"), "of no kind that we use"));
  CHECK(mentions(refusal("short"), "short"));
  CHECK(mentions(refusal("nothing"), "in no format that we know"));
  const std::string parameters = folder.read("parameters");  // a block of them stands before the key's
  CHECK(parse_private_key(as_bytes(parameters), "parameters", ""));
}

TEST_CASE("a file that was cut short is refused, wherever it was cut") {
  SshFolder folder;
  for (const char* options : {"ed25519", "ecdsa", "rsa -b 2048", "ecdsa -m PEM", "rsa -b 2048 -m PKCS8"}) {
    CAPTURE(options);
    std::string text = make_key(folder, options);
    const std::size_t end = text.rfind("-----\n");
    for (std::size_t length = 0; length < end; length += 7)
      CHECK_FALSE(parse_private_key(as_bytes(std::string_view(text).substr(0, length)), "key", ""));
  }
}

TEST_CASE("a changed bit anywhere in an OpenSSH key never makes it another key") {
  SshFolder folder;
  for (const char* options : {"ed25519", "ecdsa", "rsa -b 1024"}) {
    CAPTURE(options);
    const std::string text = make_key(folder, options);
    const std::optional<Secret> decoded = decode_openssh_key(as_bytes(text));
    REQUIRE(decoded);
    const Buffer good(decoded->bytes().begin(), decoded->bytes().end());
    const Result<PrivateKey> original = parse_openssh_key(good, "key", "");
    REQUIRE(original);
    for (std::size_t at = 0; at < good.size(); ++at) {
      Buffer bad = good;
      bad[at] ^= std::uint8_t(1 << at % 8);
      const Result<PrivateKey> key = parse_openssh_key(bad, "key", "");
      if (key) {  // the comment, or a number that nothing depends on
        CHECK(key->public_blob() == original->public_blob());
        const std::string_view algorithm = key->algorithms()[0];
        if (algorithm.starts_with("ecdsa")) {
          CHECK(folder.believes(key->public_blob(), algorithm, *key->sign(algorithm, folder.to_sign())));
        } else {
          CHECK(*key->sign(algorithm, as_bytes("x")) == *original->sign(algorithm, as_bytes("x")));
        }
      }
      CHECK_FALSE(parse_openssh_key(Bytes(good).first(at), "key", ""));
    }
  }
}

TEST_CASE("an OpenSSH key whose check numbers differ, or whose end is not as it should be, is refused") {
  SshFolder folder;
  int padded = 0;
  for (const char* comment : {"a", "bb", "ccc", "dddd"}) {
    folder.must_run(cat("rm -f key key.pub; ssh-keygen -q -t ed25519 -N '' -f key -C ", comment));
    const std::string text = folder.read("key");
    const std::optional<Secret> decoded = decode_openssh_key(as_bytes(text));
    REQUIRE(decoded);
    const Buffer good(decoded->bytes().begin(), decoded->bytes().end());
    REQUIRE(parse_openssh_key(good, "key", ""));
    WireReader in(Bytes(good).subspan(15));
    for (int i = 0; i < 3; ++i) in.string();
    in.number();
    in.string();
    Buffer check = good, end = good, more = good;
    check[good.size() - in.string().size()] ^= 1;
    CHECK_FALSE(parse_openssh_key(check, "key", ""));
    more.push_back(0);
    CHECK_FALSE(parse_openssh_key(more, "key", ""));
    if (good.back() >= 8) continue;  // the comment's end
    ++padded;
    end.back() ^= 1;
    CHECK_FALSE(parse_openssh_key(end, "key", ""));
  }
  CHECK(padded >= 3);
}

TEST_CASE("a secret that is moved away or wiped is gone") {
  Secret first(Buffer{1, 2, 3});
  Secret second(std::move(first));
  CHECK(second.bytes().size() == 3);
  const std::uint8_t* place = second.bytes().data();
  Secret third;
  third = std::move(second);
  CHECK(third.bytes().data() == place);
  third.wipe();
  CHECK(third.bytes().empty());
  CHECK((place[0] | place[1] | place[2]) == 0);  // clear() keeps the memory
}

TEST_CASE("a PKCS#8 key that asks for more work than anybody would wait for is refused before it is done") {
  SshFolder folder;
  make_key(folder, "rsa -b 2048 -m PKCS8", "sesame");
  folder.must_run("openssl pkcs8 -in key -passin pass:sesame -topk8 -nocrypt -out plain");
  const auto encrypt = [&](std::string_view how) {
    folder.must_run(cat("openssl pkcs8 -topk8 -in plain -passout pass:sesame -out hard ", how));
    return folder.read("hard");
  };
  for (const char* how : {"-v2 aes256 -iter 20000", "-v1 PBE-SHA1-3DES -iter 20000", "-scrypt"}) {
    CAPTURE(how);
    const std::string text = encrypt(how);
    CHECK(parse_private_key(as_bytes(text), "my_key", "sesame"));
  }
  // 100,000, as it is written, is changed into eight million.
  const auto made_hard = [](const std::string& pem) {
    const std::size_t begin = pem.find('\n') + 1;
    std::string digits = pem.substr(begin, pem.find("-----", begin) - begin);
    std::erase(digits, '\n');
    Buffer der = decode_base64(digits).value();
    const Buffer rounds = {0x02, 0x03, 0x01, 0x86, 0xa0}, more = {0x02, 0x03, 0x7f, 0xff, 0xff};
    const auto at = std::search(der.begin(), der.end(), rounds.begin(), rounds.end());
    REQUIRE(at != der.end());
    std::copy(more.begin(), more.end(), at);
    digits = encode_base64(der);
    std::string lines;
    for (std::size_t i = 0; i < digits.size(); i += 64) lines += digits.substr(i, 64) + "\n";
    return cat("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", lines, "-----END ENCRYPTED PRIVATE KEY-----\n");
  };
  for (const char* how : {"-v2 aes256 -iter 100000", "-v1 PBE-SHA1-3DES -iter 100000"}) {
    CAPTURE(how);
    const std::string hard = made_hard(encrypt(how)), easy = encrypt("-v2 aes256 -iter 1000");
    for (const std::string& text : {hard, hard + easy, easy + hard}) {
      const Result<PrivateKey> key = parse_private_key(as_bytes(text), "my_key", "wrong");
      REQUIRE_FALSE(key);
      CHECK(mentions(key.error(), "the key my_key would take too long to open"));
    }
  }
}
