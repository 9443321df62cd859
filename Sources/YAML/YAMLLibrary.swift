import CYAML

package enum YAMLLibrary {
    /// The version of libyaml that is loaded.
    package static var version: String { String(cString: yaml_get_version_string()) }
}
