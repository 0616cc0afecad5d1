// tests/transports/ssh_tools.h -- OpenSSH's own tools, asked for their opinion, in a folder of the test's
// own.
#pragma once

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/fd.h"
#include "core/text.h"
#include "transports/base64.h"
#include "transports/connector/wire.h"

namespace banyan::test {

class SshFolder {
 public:
  SshFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "keys.XXXXXX").string();
    REQUIRE(::mkdtemp(pattern.data()) != nullptr);
    path_ = pattern;
  }
  ~SshFolder() { std::filesystem::remove_all(path_); }
  SshFolder(const SshFolder&) = delete;
  SshFolder& operator=(const SshFolder&) = delete;

  std::string path(std::string_view name) const { return cat(path_, "/", name); }

  // Private, as keys have to be.
  std::string write(std::string_view name, std::string_view text) const {
    const std::string file = path(name);
    const Fd out(::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    REQUIRE(out);
    REQUIRE(write_all(out.get(), text.data(), text.size()));
    return file;
  }
  std::string read(std::string_view name) const {
    std::ifstream in(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  struct Output {
    int code = -1;
    std::string text;
  };
  // Runs shell words in the folder; what they print on both outputs.
  Output run(std::string_view words) const {
    std::FILE* pipe = ::popen(cat("cd ", path_, " && { ", words, " ; } 2>&1 </dev/null").c_str(), "re");
    REQUIRE(pipe != nullptr);
    Output output;
    char bytes[4096];
    for (std::size_t count; (count = std::fread(bytes, 1, sizeof bytes, pipe)) > 0;)
      output.text.append(bytes, count);
    const int status = ::pclose(pipe);
    if (WIFEXITED(status)) output.code = WEXITSTATUS(status);
    return output;
  }
  std::string must_run(std::string_view words) const {
    const Output output = run(words);
    INFO(words << ": " << output.text);
    REQUIRE(output.code == 0);
    return output.text;
  }

  // Bytes of which ssh-keygen can tell whether a signature is theirs.
  Buffer to_sign() const {
    write("message", "what is signed");
    Buffer out(6);
    std::memcpy(out.data(), "SSHSIG", 6);
    connector::put_string(out, "test");
    connector::put_string(out, "");
    connector::put_string(out, "sha512");
    connector::put_string(out, digest_of_message());
    return out;
  }
  // Does ssh-keygen believe that the key has signed them? `signature` is without the algorithm's name.
  bool believes(Bytes public_blob, std::string_view algorithm, Bytes signature) const {
    Buffer named, file(6);
    connector::put_string(named, algorithm);
    connector::put_string(named, signature);
    std::memcpy(file.data(), "SSHSIG", 6);
    connector::put_number(file, 1);
    connector::put_string(file, public_blob);
    connector::put_string(file, "test");
    connector::put_string(file, "");
    connector::put_string(file, "sha512");
    connector::put_string(file, named);
    std::string text = "-----BEGIN SSH SIGNATURE-----\n";
    const std::string digits = encode_base64(file);
    for (std::size_t at = 0; at < digits.size(); at += 70) text += digits.substr(at, 70) + "\n";
    write("signature", text + "-----END SSH SIGNATURE-----\n");
    return run("ssh-keygen -Y check-novalidate -n test -s signature <message").code == 0;
  }

 private:
  Buffer digest_of_message() const {
    const std::string hex = must_run("sha512sum message");
    Buffer digest;
    for (std::size_t at = 0; at < 128; at += 2)
      digest.push_back(std::uint8_t(parse_hex(std::string_view(hex).substr(at, 2))));
    return digest;
  }

  std::string path_;
};

// An ed25519 key that nobody has the private half of; another one for each number.
inline Buffer made_up_key(std::uint8_t number) {
  Buffer blob;
  connector::put_string(blob, "ssh-ed25519");
  connector::put_string(blob, Buffer(32, number));
  return blob;
}

}  // namespace banyan::test
