// What the tests of the text formats share: an unlinked file as an input, random bytes, temporary
// folders.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>
#include <string_view>

namespace pleach::text::testing {

// A file descriptor that reads `content` from its start.
class input_file {
 public:
  explicit input_file(std::string_view content) : file_(std::tmpfile()) {
    if (file_ == nullptr) std::abort();
    if (std::fwrite(content.data(), 1, content.size(), file_) != content.size()) std::abort();
    std::fflush(file_);
    ::lseek(fd(), 0, SEEK_SET);
  }
  ~input_file() { std::fclose(file_); }
  input_file(const input_file&) = delete;
  input_file& operator=(const input_file&) = delete;
  [[nodiscard]] int fd() const { return ::fileno(file_); }

 private:
  std::FILE* file_;
};

class temporary_folder {
 public:
  temporary_folder() {
    std::string name = (std::filesystem::temp_directory_path() / "pleach-text-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    path = name;
  }
  ~temporary_folder() { std::filesystem::remove_all(path); }
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  std::filesystem::path path;
};

inline std::string content_of(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

using random_engine = std::mt19937_64;

// Bytes of three flavours: any, ASCII with many specials, valid UTF-8.
inline std::string random_bytes(random_engine& random, std::size_t size_max) {
  static constexpr std::string_view specials = "\\\"\n\r\t\b\f/{}:, 0aF\x7f\x01";
  static constexpr std::string_view characters[] = {
      "a", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x8c\xb3", "\\", "\""};
  const std::size_t size = random() % (size_max + 1);
  const auto flavour = random() % 3;
  std::string out;
  while (out.size() < size) {
    if (flavour == 0) out += static_cast<char>(random() & 0xff);
    if (flavour == 1) out += specials[random() % specials.size()];
    if (flavour == 2) out += characters[random() % 6];
  }
  return out;
}

}  // namespace pleach::text::testing
