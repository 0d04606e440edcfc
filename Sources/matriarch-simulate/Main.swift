import Simulation
@main struct M { static func main() {
  let n = UInt64(CommandLine.arguments.dropFirst().first ?? "200") ?? 200
  let from = UInt64(CommandLine.arguments.dropFirst(2).first ?? "1") ?? 1
  let trace = CommandLine.arguments.contains("--trace")
  var tally: [String: Int] = [:]; var bad: [String: [UInt64]] = [:]; var handled = 0, steps = 0, prom = 0
  for seed in from..<from+n {
    let o = SimulationRun(.make(seed: seed), mode: .liveness).run(onLine: trace ? { print($0) } : nil)
    for (k,v) in o.tally { tally[k, default: 0] += v }
    handled += o.handled; steps += o.steps; prom += o.promotions
    if let v = o.violations.first { 
      let key = v.split(separator: ":").dropFirst().joined(separator: ":")
      bad[key, default: []].append(seed)
    }
  }
  print(tally.sorted { $0.value > $1.value }.prefix(14))
  print("handled \(handled) steps \(steps) promotions \(prom) bad \(bad.values.map(\.count).reduce(0,+))")
  for (k, v) in bad.sorted(by: { $0.value.count > $1.value.count }).prefix(40) { print(v.count, k, v.prefix(5)) }
} }
