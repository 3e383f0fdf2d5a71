// What the dump writer prints is loaded by the real mdb_load and db_load, dumped again by their
// tools, and read back by our reader as the same records. Exit 77 if neither pair of tools is
// installed.
//
// Not doctest: a test program that may skip needs its own exit code.
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include "tests/tools/text/support.hh"
#include "tools/text/dump_reader.hh"
#include "tools/text/dump_writer.hh"

namespace {

using namespace pleach::text;
using tree_map = std::map<std::string, std::map<std::string, std::string>>;

int failures = 0;

void require(bool condition, const std::string& what) {
  if (condition) return;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
  ++failures;
}

bool run(const std::string& command) {
  const int status = std::system(command.c_str());
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string first_installed(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    if (run(std::string("command -v ") + name + " >/dev/null 2>&1")) return name;
  }
  return {};
}

// Names and records that both peers can hold: LMDB has no empty keys, and none above 511 bytes.
tree_map sample() {
  testing::random_engine random(17);
  tree_map trees;
  for (const char* name : {"plain", "with blank", "gr\xc3\xbc\xc3\x9f"}) {
    auto& records = trees[name];
    for (int i = 0; i < 400; ++i) {
      records["k" + testing::random_bytes(random, 60)] = testing::random_bytes(random, 2000);
    }
    records["empty"] = "";
    std::string all;
    for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
    records[all] = all;
  }
  return trees;
}

std::string written(const tree_map& trees, const dump_format& format) {
  std::string out;
  for (const auto& [name, records] : trees) {
    append_dump_header(out, name, format);
    for (const auto& [key, value] : records) append_dump_record(out, key, value, format);
    append_dump_footer(out);
  }
  return out;
}

tree_map read_back(const std::filesystem::path& file) {
  tree_map out;
  const int fd = ::open(file.c_str(), O_RDONLY);
  line_reader lines(fd, {.name = file.string()});
  dump_reader reader(lines);
  for (;;) {
    const auto got = reader.next();
    if (!got) {
      require(false, "reading back: " + got.error().message());
      break;
    }
    if (*got == dump_event::END) break;
    const std::string name = reader.section().database.value_or("(none)");
    if (*got == dump_event::SECTION_BEGIN) out[name];
    if (*got == dump_event::RECORD) out[name][std::string(reader.key())] = reader.value();
  }
  ::close(fd);
  return out;
}

void write_file(const std::filesystem::path& file, const std::string& text) {
  std::ofstream(file, std::ios::binary) << text;
}

void check_lmdb(const std::filesystem::path& folder, const tree_map& trees, bool print) {
  const std::string at = (folder / (print ? "lmdb-print" : "lmdb")).string();
  std::filesystem::create_directory(at);
  write_file(at + ".in", written(trees, {.print = print, .mapsize = 64u << 20}));
  // It warns of db_pagesize, which its own dumps have too.
  require(run("mdb_load -f " + at + ".in " + at + " 2>" + at + ".err"),
          "mdb_load: " + testing::content_of(at + ".err"));
  require(run("mdb_dump -a -f " + at + ".out " + at), "mdb_dump");
  require(read_back(at + ".out") == trees, "mdb_dump gives back the same trees");
}

void check_bdb(const std::filesystem::path& folder, const tree_map& trees, bool print,
               const std::string& load, const std::string& dump) {
  const std::string at = (folder / (print ? "bdb-print" : "bdb")).string();
  write_file(at + ".in", written(trees, {.print = print, .mapsize = {}}));
  require(run(load + " -f " + at + ".in " + at + " 2>" + at + ".err"),
          load + ": " + testing::content_of(at + ".err"));
  for (const char* flag : {"", "-p "}) {
    require(run(dump + " " + flag + "-f " + at + ".out " + at), dump);
    require(read_back(at + ".out") == trees, dump + " " + flag + "gives back the same trees");
  }
}

}  // namespace

int main() {
  const bool lmdb =
      !first_installed({"mdb_load"}).empty() && !first_installed({"mdb_dump"}).empty();
  const std::string load = first_installed({"db5.3_load", "db_load"});
  const std::string dump = first_installed({"db5.3_dump", "db_dump"});
  const bool bdb = !load.empty() && !dump.empty();
  if (!lmdb && !bdb) {
    std::puts("skipped: neither mdb_load nor db_load is installed");
    return 77;
  }
  const testing::temporary_folder folder;
  const tree_map trees = sample();
  // Berkeley DB escapes names as we do, so that it also holds names that need it.
  tree_map odd_names = trees;
  odd_names["back\\slash"]["a"] = "b";
  odd_names["new\nline \\5c"]["a"] = "b";
  odd_names["\xff\x01"]["a"] = "b";
  for (const bool print : {false, true}) {
    if (lmdb) check_lmdb(folder.path, trees, print);
    if (bdb) check_bdb(folder.path, odd_names, print, load, dump);
  }
  std::printf("%s: lmdb %s, bdb %s\n", failures == 0 ? "passed" : "FAILED", lmdb ? "yes" : "no",
              bdb ? "yes" : "no");
  return failures == 0 ? 0 : 1;
}
