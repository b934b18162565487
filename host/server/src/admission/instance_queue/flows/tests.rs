use super::*;

fn flow(component: &str, client: Option<&str>) -> Flow {
    Flow { component: component.into(), client: client.map(Into::into) }
}

fn flows(instances: usize, max_waiting: usize, components: &[(&str, Option<usize>)]) -> Flows {
    let limits = QueueLimits { instances, waiting: max_waiting, target: Duration::ZERO };
    let mut flows = Flows::new(&limits);
    let share = |&(component, max_instances): &(&str, Option<usize>)| ComponentShare {
        component: component.into(),
        max_instances,
    };
    flows.share_among(&components.iter().map(share).collect::<Vec<_>>());
    flows
}

/// Takes as many instances as there are for `flow`, and says how many that were.
fn fill(flows: &mut Flows, flow: &Flow) -> usize {
    std::iter::from_fn(|| flows.try_take(flow).then_some(())).count()
}

fn is_granted(place: &mut Place) -> bool {
    place.1.try_recv().is_ok_and(|granted| granted.is_ok())
}

#[test]
fn a_single_component_may_have_all() {
    let mut flows = flows(16, 0, &[("a", None)]);
    assert_eq!(fill(&mut flows, &flow("a", None)), 16);
}

#[test]
fn a_component_leaves_each_other_its_share() {
    let mut flows = flows(16, 0, &[("a", None), ("b", None), ("c", None)]);
    assert_eq!(fill(&mut flows, &flow("a", None)), 12, "2 are kept for each of the others");
    assert_eq!(fill(&mut flows, &flow("b", None)), 2);
    assert_eq!(fill(&mut flows, &flow("c", None)), 2);
    assert_eq!(flows.free(), 0);
}

#[test]
fn of_many_components_newcomers_find_an_instance() {
    let names: Vec<_> = (0..100).map(|n| n.to_string()).collect();
    let components: Vec<_> = names.iter().map(|name| (name.as_str(), None)).collect();
    let mut flows = flows(16, 0, &components);
    assert_eq!(fill(&mut flows, &flow("0", None)), 12);
    for name in ["1", "2", "3", "4"] {
        assert_eq!(fill(&mut flows, &flow(name, None)), 1);
    }
}

#[test]
fn a_component_has_no_more_than_its_manifest_says() {
    let mut flows = flows(16, 0, &[("a", Some(3)), ("b", None)]);
    assert_eq!(fill(&mut flows, &flow("a", None)), 3);
    assert_eq!(fill(&mut flows, &flow("b", None)), 12, "one more is kept for a");
}

#[test]
fn who_has_fewest_is_next_by_component_and_by_client() {
    let mut flows = flows(4, 100, &[("a", None)]);
    let (greedy, modest) = (flow("a", Some("greedy")), flow("a", Some("modest")));
    assert_eq!(fill(&mut flows, &greedy), 4);
    let mut line: Vec<_> = (0..10).map(|_| flows.enqueue(&greedy).unwrap()).collect();
    let mut late = flows.enqueue(&modest).unwrap();
    flows.release(&greedy);
    assert!(is_granted(&mut late) && !line.iter_mut().any(is_granted));
    flows.release(&greedy);
    assert!(is_granted(&mut line[0]));
}

#[test]
fn the_last_place_of_the_longest_flow_is_taken_when_the_queue_is_full() {
    let mut flows = flows(1, 4, &[("a", None), ("b", None)]);
    let (greedy, modest) = (flow("a", None), flow("b", None));
    assert_eq!(fill(&mut flows, &greedy), 1);
    let mut line: Vec<_> = (0..4).map(|_| flows.enqueue(&greedy).unwrap()).collect();
    assert_eq!(flows.check_place(&greedy), Err(Refusal::QueueFull));
    assert_eq!(flows.check_place(&modest), Ok(()));
    let mut places = [flows.enqueue(&modest).unwrap(), flows.enqueue(&modest).unwrap()];
    assert_eq!(line[3].1.try_recv().unwrap(), Err(Refusal::QueueFull));
    assert_eq!(line[2].1.try_recv().unwrap(), Err(Refusal::QueueFull));
    assert_eq!(flows.enqueue(&modest).err(), Some(Refusal::QueueFull), "both wait with two");
    flows.release(&greedy);
    flows.release(&greedy);
    assert!(is_granted(&mut line[0]) || is_granted(&mut places[0]));
}

#[test]
fn who_leaves_is_not_waited_for_and_nothing_is_kept_of_idle_clients() {
    let mut flows = flows(1, 4, &[("a", None)]);
    let (one, other) = (flow("a", Some("one")), flow("a", Some("other")));
    assert_eq!(fill(&mut flows, &one), 1);
    let place = flows.enqueue(&other).unwrap();
    flows.leave(&other, place.0);
    assert_eq!(flows.waiting(), 0);
    flows.release(&one);
    assert_eq!(flows.free(), 1);
    assert!(flows.components[&Arc::from("a")].clients.is_empty());
}

#[test]
fn a_component_that_is_served_no_more_ends_with_its_requests() {
    let mut flows = flows(8, 4, &[("a", None), ("b", None)]);
    assert!(flows.try_take(&flow("a", None)));
    flows.share_among(&[ComponentShare { component: "b".into(), max_instances: None }]);
    assert_eq!(fill(&mut flows, &flow("b", None)), 7, "nothing is kept for it");
    flows.release(&flow("a", None));
    assert_eq!(flows.components.len(), 1);
}

#[test]
fn who_has_waited_for_too_long_gives_way_only_while_others_are_refused() {
    let mut flows = flows(1, 4, &[("a", None)]);
    let flow = flow("a", None);
    assert_eq!(fill(&mut flows, &flow), 1);
    let mut patient = flows.enqueue(&flow).unwrap();
    flows.release(&flow);
    assert!(is_granted(&mut patient), "nobody was refused");
    let mut stale = [flows.enqueue(&flow).unwrap(), flows.enqueue(&flow).unwrap()];
    // The target is zero, so that a refusal of this instant counts, and any wait is too long.
    flows.refused(Instant::now() + Duration::from_secs(60));
    flows.release(&flow);
    assert!(stale.iter_mut().all(|place| matches!(place.1.try_recv(), Ok(Err(Refusal::Stale(_))))));
    assert_eq!((flows.free(), flows.waiting()), (1, 0));
}
