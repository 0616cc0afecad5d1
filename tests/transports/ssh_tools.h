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
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/bytes.h"
#include "core/fd.h"
#include "core/text.h"
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

 private:
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
