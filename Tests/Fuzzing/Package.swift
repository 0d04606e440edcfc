// swift-tools-version: 6.2
import PackageDescription

// Apart from the main package, so that nobody who builds that one builds this: everything here is instrumented.
// `Tests/Fuzzing/run.sh` builds and runs it.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

let package = Package(
    name: "matriarch-fuzzing",
    dependencies: [.package(name: "matriarch", path: "../..")],
    targets: [
        .target(
            name: "FuzzTargets",
            dependencies: [
                .product(name: "MatriarchMain", package: "matriarch"),
                .product(name: "BuiltInPlugins", package: "matriarch"),
            ],
            path: "Targets", exclude: ["CorpusTests.swift"], swiftSettings: strict),
        // Its main function is called as the package manager wants it; libFuzzer has the other one.
        .executableTarget(
            name: "fuzz", dependencies: ["FuzzTargets"], path: "Fuzzer",
            swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])]),
    ],
    swiftLanguageModes: [.v6]
)
