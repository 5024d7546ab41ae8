// What a disk may hold after the machine loses its power: a model of a file system on which the
// calls of a recorded run are repeated. POSIX promises no more than this: a file's bytes are on the
// disk after its fsync, a directory's entries after the directory's; until then each change of an
// entry is, by itself, there or not, and bytes are there, partly there, or zero. A rename is one
// change.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace lockstep::test {

class DiskModel {
 public:
  /// `root` as it lies on the disk now, all of it durable.
  explicit DiskModel(const std::filesystem::path& root);

  /// Repeats one call as FaultScope reports it. Calls outside of `root` are ignored.
  void apply(const std::string& call, const std::string& written);

  /// Calls visit for everything that may be found on the disk now: paths below root and contents;
  /// directories end in '/'.
  using Tree = std::map<std::string, std::string>;
  void for_each_state(const std::function<void(const Tree&)>& visit) const;

 private:
  struct Node {
    bool directory = false;
    std::string durable, newest;         // of a file
    std::map<std::string, int> entries;  // of a directory: durable ones
  };
  // Of one directory, in one step; node -1: the name goes.
  struct Change {
    int directory;
    std::vector<std::pair<std::string, int>> names;
  };

  int load(const std::filesystem::path& path);
  std::map<std::string, int> entries_of(int directory) const;  // with all changes
  int find(const std::string& path) const;                     // -1: none
  std::pair<int, std::string> parent_of(const std::string& path) const;
  std::string relative(const std::string& path) const;
  int make(bool directory);
  void list(int node, const std::string& path,
            const std::vector<std::map<std::string, int>>& entries, int mode, Tree& tree) const;

  std::string root_;
  std::vector<Node> nodes_;
  std::vector<Change> pending_;
};

/// Makes the tree in `root`, an existing directory.
void materialise(const DiskModel::Tree& tree, const std::filesystem::path& root);

}  // namespace lockstep::test
